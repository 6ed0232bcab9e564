"""Writes a bundle, all of it or none: configs that MONAI parses too, weights, card, licence and manifest."""

from __future__ import annotations

import json
import math
import secrets
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg_rl.bundle.layout import (
    AGENT_WEIGHTS,
    AUTOMATIC_WEIGHTS,
    FORMAT_VERSION,
    INFERENCE,
    LICENCE,
    MANIFEST,
    METADATA,
    MODEL_CARD,
    file_hash,
)
from medseg_rl.bundle.model import Bundle, load_bundle
from medseg_rl.bundle.settings import INTENSITY, AgentSettings, BundleCard, as_json
from medseg_rl.errors import BundleError, OutputError

if TYPE_CHECKING:
    from torch import nn

    from medseg_rl.automatic.segmenter import AutomaticSegmenter

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_PACKAGES = ("nibabel", "scipy", "SimpleITK", "safetensors", "numba")


def save_bundle(
    folder: Path,
    card: BundleCard,
    *,
    agent: nn.Module | None = None,
    agent_settings: AgentSettings | None = None,
    automatic: AutomaticSegmenter | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Writes the networks into `folder` and reads the bundle back. Each may be left out, not both.

    Raises `OutputError` when the folder is there already and `overwrite` is not set, or cannot be written.
    """
    if (agent is None) != (agent_settings is None) or (agent is None and automatic is None):
        raise BundleError("a bundle needs the agents with their settings, or an automatic network, or both")
    if folder.exists() and not overwrite:
        raise OutputError(f"{folder} is there already; choose another name or ask to overwrite it")
    contents = {
        METADATA: _json(_metadata(card, agent_settings, automatic)),
        INFERENCE: _json(_inference(agent_settings, automatic)),
        MODEL_CARD: card.model_card.encode(),
        LICENCE: card.licence.encode(),
    }
    if agent is not None:
        contents[AGENT_WEIGHTS] = _weights(agent)
    if automatic is not None:
        contents[AUTOMATIC_WEIGHTS] = _weights(automatic.network)
    hashes = {name: file_hash(content) for name, content in sorted(contents.items())}
    contents[MANIFEST] = _json({"format_version": FORMAT_VERSION, "files": hashes})
    try:
        _write(folder, contents)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}; choose another place") from None
    return load_bundle(folder)


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        for name, content in contents.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
            folder.rename(old)
            fresh.rename(folder)
            shutil.rmtree(old)
        else:
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _weights(network: nn.Module) -> bytes:
    """float32 safetensors of every parameter and buffer, each once though a module may be reached by two names."""
    from safetensors.torch import save

    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return bytes(save({name: value.detach().cpu().float().contiguous() for name, value in tensors.items()}))


def _inference(agent: AgentSettings | None, automatic: AutomaticSegmenter | None) -> dict[str, Any]:
    """Definitions for `monai.bundle.ConfigParser`; this program itself never reads them."""
    definitions: dict[str, Any] = {}
    if automatic is not None:
        from medseg_rl.automatic.segmenter import network_arguments

        target = {"_target_": "monai.networks.nets.DynUNet"}
        definitions["automatic_network_def"] = target | network_arguments(automatic.config)
    if agent is not None:
        definitions["network_def"] = {
            "_target_": "medseg_rl.agent.networks.build_network",
            "name": agent.network,
            "channels": list(agent.channels),
            "actions": _outputs(agent),
            "commands": agent.commands,
        }
    return {"imports": [], "network_def": definitions.get("automatic_network_def")} | definitions


def _metadata(card: BundleCard, agent: AgentSettings | None, automatic: AutomaticSegmenter | None) -> dict[str, Any]:
    low, high = card.spacing_range_mm
    return {
        "schema": SCHEMA,
        "name": card.name,
        "version": card.version,
        "changelog": dict(card.changelog) or {card.version: "first version"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in _PACKAGES},
        "task": "Interactive refinement of a 3D segmentation by clicks" if agent else "Automatic 3D segmentation",
        "description": card.description,
        "authors": card.authors,
        "copyright": card.copyright,
        "license": card.licence_name,
        "data_source": "; ".join(f"{data.name} ({data.licence})" for data in card.training_data),
        "data_type": "nibabel",
        "image_classes": "one channel, normalised as medseg_rl.intensity says",
        "label_classes": "1 target, 0 everything else",
        "pred_classes": "probability of the target in hundredths, 1 to 99; above 50 is the mask",
        "eval_metrics": dict(card.metrics),
        "network_data_format": _data_format(agent),
        "automatic_network_data_format": _data_format(None),
        "medseg_rl": {
            "format_version": FORMAT_VERSION,
            "made_by": version("medseg-rl"),
            "modalities": list(card.modalities),
            "spacing_range_mm": [low, high if math.isfinite(high) else None],
            "targets": list(card.targets),
            "training_data": [as_json(data) for data in card.training_data],
            "intensity": dict(INTENSITY),
            "axis_order": "nearest RAS+",
            "agent": as_json(agent) if agent else None,
            "automatic": automatic.config.as_dict() if automatic else None,
        },
    }


def _data_format(agent: AgentSettings | None) -> dict[str, Any]:
    channels = agent.channels if agent else ("image",)
    spatial = {"num_channels": 1, "spatial_shape": ["*", "*", "*"], "dtype": "float32", "is_patch_data": True}
    outputs = _outputs(agent) if agent else 1
    seen = {"type": "image", "format": "magnitude", "value_range": [], "channel_def": dict(_numbered(channels))}
    names = [f"logit of output {i}" for i in range(outputs)] if agent else ["logit of the target"]
    said = {"type": "image", "format": "logits", "value_range": [], "channel_def": dict(_numbered(names))}
    return {
        "inputs": {"image": spatial | seen | {"num_channels": len(channels)}},
        "outputs": {"pred": spatial | said | {"num_channels": outputs}},
    }


def _numbered(names: Any) -> list[tuple[str, str]]:
    return [(str(i), str(name)) for i, name in enumerate(names)]


def _outputs(agent: AgentSettings) -> int:
    from medseg_rl.agent.policy import build_policy

    return build_policy(agent.policy, agent.adjustments).outputs


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
