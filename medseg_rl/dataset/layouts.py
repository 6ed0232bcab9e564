"""Which image belongs to which label in a folder: Decathlon, nnU-Net, BraTS, or plain folders of images and labels.

Looks at names and at dataset.json, opens no image, and leaves it to others what to do about a file without a partner.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg_rl.errors import InputFileError
from medseg_rl.imageio import READ_SUFFIXES

DESCRIPTION = "dataset.json"
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagesTr", "volumes", "scans")
LABEL_FOLDERS = ("labels", "label", "masks", "mask", "segmentations", "segmentation", "seg", "labelsTr", "annotations")
LABEL_ENDINGS = ("_seg", "_label", "_labels", "_mask", "_segmentation", "-seg", "-label", "-mask")
BRATS_CHANNELS = ("t1", "t1ce", "t1gd", "t2", "flair", "t1n", "t1c", "t2w", "t2f")
BRATS_DEFAULT = ("flair", "t2f")  # on these the whole tumour is brightest
BRATS_LABELS = {1: "necrotic core", 2: "oedema", 3: "enhancing tumour", 4: "enhancing tumour"}
MODALITIES = {"MRI": "MR", "MR": "MR", "CT": "CT", "PET": "PT", "PT": "PT"}
MODALITIES |= dict.fromkeys(("T1", "T1W", "T1GD", "T1CE", "T2", "T2W", "FLAIR", "ADC"), "MR")

_NNUNET_IMAGE = re.compile(r"^(?P<id>.+)_(?P<channel>\d{4})$")
_BRATS_FILE = re.compile(rf"^(?P<id>.+)[-_](?P<what>seg|{'|'.join(BRATS_CHANNELS)})$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """An image with its label. `time_point`: which volume of the image file, where it holds several."""

    image: Path
    label: Path
    time_point: int | None = None


@dataclass(frozen=True)
class Listing:
    """What a folder holds. `lacking`: one line for each file that is without its partner, or that should be there.

    `labels`: names of label values. `modality`: of the chosen channel, as in DICOM, where it is said.
    """

    layout: str
    folder: Path
    pairs: Mapping[str, Pair]
    lacking: tuple[str, ...] = ()
    name: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
    modality: str | None = None
    licence: str = "not stated"
    reference: str = ""


def list_pairs(folder: Path, channel: str | None = None) -> Listing:
    """The pairs of `folder`, by its layout. `channel`: name or number of the image, where a case has several.

    Raises `InputFileError` where no layout is recognised, dataset.json cannot be used, or there is no such channel.
    """
    if (folder / DESCRIPTION).is_file():
        description = read_json(folder / DESCRIPTION)
        nnunet = "channel_names" in description or (
            not isinstance(description.get("training"), list) and (folder / "imagesTr").is_dir()
        )
        if nnunet or _stands_with_channels(folder, description):
            return _nnunet(folder, description, channel)
        return _decathlon(folder, description, channel)
    for layout in (_brats, _nnunet_undescribed, _plain):
        found = layout(folder, channel)
        if found is not None:
            return found
    raise InputFileError(
        f"{folder / DESCRIPTION} is missing; a data set needs dataset.json, imagesTr and labelsTr, or case folders "
        "as of BraTS, or folders images and labels"
    )


def looks_like_a_dataset(folder: Path) -> bool:
    """Whether `folder` itself is a data set, rather than a folder of them."""
    if (folder / DESCRIPTION).is_file() or _folders(folder) is not None:
        return True
    return bool(_brats_labels(folder))


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object from a file. Raises `InputFileError`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputFileError(f"{path} is missing; a data set needs dataset.json, imagesTr and labelsTr") from None
    except (OSError, ValueError) as error:
        raise InputFileError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputFileError(f"{path} must hold one JSON object")
    return content


def stem_of(path: Path) -> str:
    """The name without the ending of an image file."""
    for suffix in sorted(READ_SUFFIXES, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _decathlon(folder: Path, description: Mapping[str, Any], channel: str | None) -> Listing:
    names = _texts(description.get("modality"))
    place = _channel_of(folder, channel, names) if len(names) > 1 or channel is not None else None
    pairs: dict[str, Pair] = {}
    lacking = []
    listed = _listed(folder, description)
    for image, label in listed:
        absent = [path for path in (image, label) if not path.is_file()]
        case_id = stem_of(image)
        if case_id in pairs:
            raise InputFileError(f"{folder / DESCRIPTION} lists {case_id} twice")
        lacking += [f"{path} is listed in dataset.json but missing" for path in absent]
        if not absent:
            pairs[case_id] = Pair(image, label, place)
    modality = _modality(names, place)
    return _described("Decathlon", folder, description, pairs, lacking, modality)


def _listed(folder: Path, description: Mapping[str, Any]) -> list[tuple[Path, Path]]:
    listed = description.get("training")
    if not isinstance(listed, list) or not listed:
        raise InputFileError(f"{folder / DESCRIPTION} lists no case under 'training'")
    if description.get("numTraining", len(listed)) != len(listed):
        raise InputFileError(
            f"{folder / DESCRIPTION} announces {description['numTraining']} cases but lists {len(listed)}"
        )
    try:
        return [(folder / entry["image"], folder / entry["label"]) for entry in listed]
    except (TypeError, KeyError):
        raise InputFileError(f"{folder / DESCRIPTION}: each case needs an 'image' and a 'label'") from None


def _stands_with_channels(folder: Path, description: Mapping[str, Any]) -> bool:
    """Whether dataset.json lists images without their channel, as the first nnU-Net had it."""
    listed = description.get("training")
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], Mapping):
        return False
    image = folder / str(listed[0].get("image", ""))
    return not image.is_file() and any(image.parent.glob(f"{stem_of(image)}_[0-9][0-9][0-9][0-9].*"))


def _nnunet_undescribed(folder: Path, channel: str | None) -> Listing | None:
    images = _images(folder / "imagesTr")
    if not images or not all(_NNUNET_IMAGE.match(stem_of(path)) for path in images):
        return None
    return _nnunet(folder, {}, channel)


def _nnunet(folder: Path, description: Mapping[str, Any], channel: str | None) -> Listing:
    names = _texts(description.get("channel_names") or description.get("modality"))
    number = _channel_of(folder, channel, names)
    labels = {stem_of(path): path for path in _images(folder / "labelsTr")}
    images: dict[str, Path] = {}
    ids = set()
    for path in _images(folder / "imagesTr"):
        match = _NNUNET_IMAGE.match(stem_of(path))
        if match is not None:
            ids.add(match["id"])
            if int(match["channel"]) == number:
                images[match["id"]] = path
    if ids and not images:
        raise InputFileError(f"{folder / 'imagesTr'} has no image of channel {number:04d}; choose another channel")
    lacking = [f"{labels[name]} has no image {name}_{number:04d} in imagesTr" for name in sorted(set(labels) - ids)]
    lacking += [f"{name} lacks its image of channel {number:04d}" for name in sorted(ids - set(images))]
    lacking += [f"{images[name]} has no label {name} in labelsTr" for name in sorted(set(images) - set(labels))]
    pairs = {name: Pair(images[name], labels[name]) for name in sorted(set(images) & set(labels))}
    announced = description.get("numTraining", len(pairs))
    if announced != len(pairs) and not lacking:
        lacking.append(f"{folder / DESCRIPTION} announces {announced} cases but {len(pairs)} are there")
    return _described("nnU-Net", folder, description, pairs, lacking, _modality(names, number))


def _brats(folder: Path, channel: str | None) -> Listing | None:
    found = _brats_labels(folder)
    if not found:
        return None
    wanted = (channel.lower(),) if channel is not None else BRATS_DEFAULT
    if wanted[0] not in BRATS_CHANNELS:
        raise InputFileError(f"there is no channel {channel!r} in BraTS; choose one of {', '.join(BRATS_CHANNELS)}")
    pairs, lacking = {}, []
    for case in sorted({path.parent for path in _case_files(folder)}):
        parts = {_what(path): path for path in _images(case)}
        image = next((parts[name] for name in wanted if name in parts), None)
        if "seg" not in parts:
            lacking.append(f"{case} has no segmentation (a file ending in seg)")
        elif image is None:
            lacking.append(f"{case} has no {' or '.join(wanted)} image")
        else:
            pairs[case.name] = Pair(image, parts["seg"])
    return Listing("BraTS", folder, pairs, tuple(lacking), folder.name, BRATS_LABELS, "MR")


def _brats_labels(folder: Path) -> list[Path]:
    return [path for path in _case_files(folder) if _what(path) == "seg"]


def _case_files(folder: Path) -> list[Path]:
    """Files of BraTS' kind of name, one or two folders deep, in a folder that is named as they are."""
    if not folder.is_dir():
        return []
    files = [*folder.glob("*/*.nii*"), *folder.glob("*/*/*.nii*")]
    return [path for path in sorted(files) if _what(path) and stem_of(path).startswith(path.parent.name)]


def _what(path: Path) -> str:
    match = _BRATS_FILE.match(stem_of(path))
    return match["what"].lower() if match else ""


def _plain(folder: Path, channel: str | None) -> Listing | None:
    folders = _folders(folder)
    if folders is None:
        return None
    if channel is not None:
        raise InputFileError(f"{folder} has plain images of one channel each; leave the channel out")
    images = {stem_of(path): path for path in _images(folders[0])}
    labels = {_without_ending(stem_of(path), images): path for path in _images(folders[1])}
    lacking = [f"{images[name]} has no label in {folders[1].name}" for name in sorted(set(images) - set(labels))]
    lacking += [f"{labels[name]} has no image in {folders[0].name}" for name in sorted(set(labels) - set(images))]
    pairs = {name: Pair(images[name], labels[name]) for name in sorted(set(images) & set(labels))}
    return Listing("plain folders", folder, pairs, tuple(lacking), folder.resolve().name)


def _folders(folder: Path) -> tuple[Path, Path] | None:
    found = [
        next((folder / n for n in names if (folder / n).is_dir()), None) for names in (IMAGE_FOLDERS, LABEL_FOLDERS)
    ]
    return (found[0], found[1]) if found[0] is not None and found[1] is not None else None


def _without_ending(stem: str, images: Mapping[str, Path]) -> str:
    if stem in images:
        return stem
    return next((stem[: -len(e)] for e in LABEL_ENDINGS if stem.endswith(e) and stem[: -len(e)] in images), stem)


def _images(folder: Path) -> list[Path]:
    """Image files of a folder by name; those that begin with a dot are some system's own."""
    if not folder.is_dir():
        return []
    paths = sorted(folder.iterdir())
    return [p for p in paths if p.name.lower().endswith(READ_SUFFIXES) and not p.name.startswith(".") and p.is_file()]


def _described(
    layout: str,
    folder: Path,
    description: Mapping[str, Any],
    pairs: Mapping[str, Pair],
    lacking: Sequence[str],
    modality: str | None,
) -> Listing:
    return Listing(
        layout,
        folder,
        pairs,
        tuple(lacking),
        str(description.get("name") or folder.resolve().name),
        _label_names(description.get("labels")),
        modality,
        str(description.get("licence", "not stated")),
        str(description.get("reference", "")),
    )


def _label_names(stated: Any) -> dict[int, str]:
    """Names by value, from {value: name} as the Decathlon has it or {name: value or values} as nnU-Net does."""
    if not isinstance(stated, Mapping):
        return {}
    if all(str(key).isdigit() for key in stated):
        return {int(value): str(name) for value, name in stated.items()}
    names: dict[int, str] = {}
    for name, values in sorted(stated.items(), key=lambda item: isinstance(item[1], list)):
        for value in values if isinstance(values, list) else [values]:
            names.setdefault(int(value), str(name))
    return names


def _texts(stated: Any) -> dict[int, str]:
    if not isinstance(stated, Mapping):
        return {}
    return {int(number): str(name) for number, name in stated.items() if str(number).isdigit()}


def _channel_of(folder: Path, channel: str | None, names: Mapping[int, str]) -> int:
    if channel is None:
        return min(names, default=0)
    same: Callable[[str], bool] = lambda name: name.lower() == channel.lower()  # noqa: E731
    number = int(channel) if channel.isdigit() else next((n for n, name in names.items() if same(name)), None)
    if number is None or (names and number not in names):
        known = ", ".join(f"{n} ({name})" for n, name in sorted(names.items()))
        raise InputFileError(f"{folder} has no channel {channel!r}; it has {known or 'numbered ones only'}")
    return number


def _modality(names: Mapping[int, str], number: int | None) -> str | None:
    return MODALITIES.get(names.get(min(names, default=0) if number is None else number, "").upper())
