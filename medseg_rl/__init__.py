"""MedSeg-RL: clicks on CT and MR volumes, refined step by step by voxel agents. Imports nothing eagerly."""

__version__ = "0.1.0.dev0"
