"""Errors a user can cause and mend. The command line prints their one line and leaves with their exit code.

A message names the two things that disagree and the way out. Anything else that is raised is a defect of ours.
"""


class MedSegError(Exception):
    """Base of every error whose message is meant for a user."""

    exit_code = 1


class InputFileError(MedSegError):
    """A file is missing, truncated, of an unknown kind, or holds what cannot be used as it stands."""

    exit_code = 3


class NonFiniteError(InputFileError):
    """An image holds NaN or infinite voxels, and nobody said what is to stand there."""


class GeometryError(MedSegError):
    """Two grids disagree, or an affine, spacing or shape makes no volume."""

    exit_code = 4


class ClickError(MedSegError):
    """A click lies outside the volume, in a locked label, or its file cannot be understood."""

    exit_code = 5


class BundleError(MedSegError):
    """A model folder or a checkpoint is missing, incomplete, corrupted or of another version."""

    exit_code = 6


class MissingExtraError(MedSegError):
    """A choice needs a library of an optional extra that is not installed."""

    exit_code = 9


class OutputError(MedSegError):
    """A result cannot be written: disk full, folder read-only, or another process writes the same file."""

    exit_code = 7


class EditError(MedSegError):
    """An edit by hand was given what it cannot work with: a radius, a plane, a point outside what it is about."""

    exit_code = 8


class Cancelled(MedSegError):
    """The user stopped the work; what was finished before is kept."""

    exit_code = 130
