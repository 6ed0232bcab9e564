"""Bundles: round trip, what is refused, where they are found, and that nothing of theirs is ever run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from medseg_rl.agent.networks import build_network
from medseg_rl.agent.policy import build_policy
from medseg_rl.agent.refine import VoxelAgentRefiner
from medseg_rl.automatic.segmenter import AutomaticConfig, AutomaticSegmenter
from medseg_rl.automatic.segmenter import build_network as build_automatic
from medseg_rl.bundle import (
    AgentSettings,
    Bundle,
    BundleCard,
    TrainingData,
    bundle_names,
    find_bundle,
    load_bundle,
    save_bundle,
)
from medseg_rl.bundle.layout import file_hash
from medseg_rl.errors import BundleError, OutputError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.hints.maps import HintConfig
from medseg_rl.refiner import RefinementRequest
from medseg_rl.volume import Volume

# Required by the schema of MONAI bundles that the metadata names.
SCHEMA_FIELDS = {
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
TENSOR_FIELDS = {
    "type",
    "format",
    "num_channels",
    "spatial_shape",
    "dtype",
    "value_range",
    "is_patch_data",
    "channel_def",
}
TINY = AutomaticConfig(patch=(16, 16, 16), features=(4, 8, 8), precision="float32")
CARD = BundleCard(
    name="tiny",
    version="0.1.0",
    description="Untrained networks for tests",
    model_card="# tiny\n\nUntrained.\n",
    licence="Free to use in tests.\n",
    licence_name="none",
    modalities=("MR",),
    spacing_range_mm=(0.8, 1.2),
    training_data=(TrainingData("balls", "none needed", "this test", data_hash="0" * 64),),
    metrics={"val": {"dice": 0.5}},
)


def agent_network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = build_network("two_scale", actions=6)
        torch.nn.init.normal_(network.policy_head[-1].weight)  # far from undecided, so that every weight matters
    return network


def settings(network: torch.nn.Module, **changes) -> AgentSettings:
    values = {
        "network": "two_scale",
        "policy": "adjustment",
        "adjustments": (-40, -20, -10, 10, 20, 40),
        "channels": network.channels,
        "hints": HintConfig(kind="edt_exp", tau_mm=4.0),
        "precision": "fp32",
    }
    return AgentSettings(**{**values, **changes})


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    network = agent_network()
    return save_bundle(
        tmp_path / "models" / "tiny",
        CARD,
        agent=network,
        agent_settings=settings(network),
        automatic=AutomaticSegmenter(build_automatic(TINY), TINY),
    )


def rewrite(bundle: Bundle, name: str, content: bytes) -> None:
    """Changes a file and the manifest with it, as a malicious author would."""
    (bundle.folder / name).write_bytes(content)
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    manifest["files"][name] = file_hash(content)
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))


def change_metadata(bundle: Bundle, change) -> None:
    metadata = json.loads((bundle.folder / "configs" / "metadata.json").read_text())
    change(metadata)
    rewrite(bundle, "configs/metadata.json", json.dumps(metadata).encode())


def request() -> RefinementRequest:
    rng = np.random.default_rng(0)
    return RefinementRequest(
        image=rng.normal(size=(12, 11, 10)).astype(np.float32),
        spacing=(1.0, 1.0, 1.0),
        percent=rng.integers(1, 100, (12, 11, 10)).astype(np.uint8),
        clicks=(Click((5, 5, 5), ClickLabel.FOREGROUND),),
        n_new_clicks=1,
    )


def test_the_agents_refine_from_a_bundle_as_they_did_before(bundle):
    direct = VoxelAgentRefiner(
        agent_network(), build_policy("adjustment"), hints=HintConfig(kind="edt_exp", tau_mm=4.0)
    )
    loaded = load_bundle(bundle.folder).refiner()
    assert np.array_equal(loaded.refine(request()), direct.refine(request()))
    assert loaded.describe()["weights_hash"] == bundle.files["models/agent.safetensors"]
    assert (loaded.name, bundle.steps) == ("tiny", 3)


def test_a_device_that_is_not_there_is_a_plain_error(bundle):
    for build in (bundle.refiner, bundle.automatic):
        with pytest.raises(BundleError, match=r'there is no device "cuda:99" here .* use "cpu"'):
            build("cuda:99")
        with pytest.raises(BundleError, match='there is no device "toaster" here'):
            build("toaster")


def test_the_automatic_network_answers_from_a_bundle_as_it_did_before(bundle):
    direct = AutomaticSegmenter(build_automatic(TINY), TINY)
    loaded = load_bundle(bundle.folder).automatic()
    volume = Volume(np.random.default_rng(0).normal(size=(17, 16, 12)), np.eye(4))
    assert loaded.weights_hash == direct.weights_hash
    assert np.array_equal(loaded.predict(volume), direct.predict(volume))


def test_every_setting_comes_back(bundle):
    network = agent_network()
    assert load_bundle(bundle.folder).agent_settings == settings(network)


def test_the_same_networks_make_the_same_bundle_hash(bundle, tmp_path):
    network = agent_network()
    again = save_bundle(
        tmp_path / "again",
        CARD,
        agent=network,
        agent_settings=settings(network),
        automatic=AutomaticSegmenter(build_automatic(TINY), TINY),
    )
    assert again.hash == bundle.hash
    with torch.no_grad():
        next(network.parameters()).add_(1e-3)
    other = save_bundle(tmp_path / "other", CARD, agent=network, agent_settings=settings(network))
    assert other.hash != bundle.hash


def test_monais_own_parser_builds_both_networks(bundle):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(bundle.folder / "configs" / "inference.json")
    parser.read_meta(bundle.folder / "configs" / "metadata.json")
    parser.parse()
    network = parser.get_parsed_content("network_def")
    automatic = parser.get_parsed_content("automatic_network_def")
    channels = parser["_meta_"]["network_data_format"]["inputs"]["image"]["num_channels"]
    assert network(torch.zeros(1, channels, 8, 8, 8)).logits.shape == (1, 6, 8, 8, 8)
    assert automatic(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_the_metadata_has_the_fields_that_monais_schema_requires(bundle):
    assert set(bundle.metadata) >= SCHEMA_FIELDS
    for part in ("network_data_format", "automatic_network_data_format"):
        for tensor in [t for tensors in bundle.metadata[part].values() for t in tensors.values()]:
            assert set(tensor) >= TENSOR_FIELDS
            assert len(tensor["channel_def"]) == tensor["num_channels"]


@pytest.mark.parametrize(
    "name",
    [
        "models/agent.safetensors",
        "models/automatic.safetensors",
        "configs/metadata.json",
        "configs/inference.json",
        "docs/README.md",
        "LICENSE",
    ],
)
def test_a_changed_or_missing_file_is_named(bundle, name):
    path = bundle.folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if name.startswith("models") else content + b" ")
    with pytest.raises(BundleError, match=f"{name} is corrupted"):
        load_bundle(bundle.folder)
    path.unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(bundle.folder)


def test_weights_that_change_after_loading_are_still_refused(bundle):
    path = bundle.folder / "models" / "agent.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\1\0")
    with pytest.raises(BundleError, match="corrupted"):
        bundle.refiner()


def test_a_truncated_manifest_is_named(bundle):
    path = bundle.folder / "manifest.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read .*copy it again"):
        load_bundle(bundle.folder)


def test_a_bundle_of_a_newer_format_asks_for_an_update(bundle):
    change_metadata(bundle, lambda metadata: metadata["medseg_rl"].update(format_version=2))
    with pytest.raises(BundleError, match="format 2, this version reads up to 1; update medseg-rl"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "three_scale"}, "needs a newer version"),
        ({"policy": "oracle"}, "needs a newer version"),
        ({"novelty": 1}, "unknown to this version"),
        ({"steps": "3"}, "cannot use"),
        ({"network": "small"}, "does not fit its network"),
        ({"hints": {"kind": "radar"}}, "cannot use"),
    ],
)
def test_agents_that_this_version_cannot_build_are_refused(bundle, changes, message):
    change_metadata(bundle, lambda metadata: metadata["medseg_rl"]["agent"].update(changes))
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle.folder).refiner()


def test_weights_that_are_no_safetensors_are_refused(bundle):
    import pickle

    rewrite(bundle, "models/agent.safetensors", pickle.dumps({"a": 1}))
    with pytest.raises(BundleError, match="no safetensors file"):
        load_bundle(bundle.folder).refiner()


def test_infinite_weights_are_refused(bundle, tmp_path):
    network = agent_network()
    with torch.no_grad():
        network.policy_head[-1].bias[0] = float("nan")
    broken = save_bundle(tmp_path / "broken", CARD, agent=network, agent_settings=settings(network))
    with pytest.raises(BundleError, match="infinite values"):
        broken.refiner()


def test_expressions_and_code_in_a_bundle_are_never_run(bundle, tmp_path):
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    expression = {"imports": [f"${code}"], "network_def": f"${code}", "automatic_network_def": f"${code}"}
    rewrite(bundle, "configs/inference.json", json.dumps(expression).encode())
    change_metadata(bundle, lambda metadata: metadata["medseg_rl"].update(note=f"${code}"))
    (bundle.folder / "scripts").mkdir()
    (bundle.folder / "scripts" / "__init__.py").write_text(code)
    changed = load_bundle(bundle.folder)
    changed.refiner().refine(request())
    changed.automatic()
    assert not marker.exists()


def test_a_manifest_cannot_reach_outside_its_bundle(bundle, tmp_path):
    (tmp_path / "secret").write_text("secret")
    manifest = json.loads((bundle.folder / "manifest.json").read_text())
    manifest["files"]["../../secret"] = file_hash(b"secret")
    (bundle.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="lies outside the bundle"):
        load_bundle(bundle.folder)


def test_a_bundle_may_hold_one_of_the_two_networks(tmp_path):
    only_start = save_bundle(tmp_path / "start", CARD, automatic=AutomaticSegmenter(build_automatic(TINY), TINY))
    assert (only_start.has_agent, only_start.has_automatic) == (False, True)
    with pytest.raises(BundleError, match="cannot refine"):
        only_start.refiner()
    network = agent_network()
    only_agent = save_bundle(tmp_path / "agent", CARD, agent=network, agent_settings=settings(network))
    with pytest.raises(BundleError, match="gives no automatic start"):
        only_agent.automatic()
    with pytest.raises(BundleError, match="needs the agents"):
        save_bundle(tmp_path / "none", CARD)


def test_a_bundle_is_not_overwritten_unasked_and_no_part_is_left_behind(bundle):
    network = agent_network()
    with pytest.raises(OutputError, match="is there already"):
        save_bundle(bundle.folder, CARD, agent=network, agent_settings=settings(network))
    smaller = save_bundle(bundle.folder, CARD, agent=network, agent_settings=settings(network), overwrite=True)
    assert not smaller.has_automatic
    assert not (bundle.folder / "models" / "automatic.safetensors").exists()
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["tiny"]


def test_bundles_are_found_by_path_and_by_name_in_the_folders_of_the_environment(bundle, monkeypatch):
    monkeypatch.setenv("MEDSEG_RL_BUNDLES", str(bundle.folder.parent))
    assert "tiny" in bundle_names()
    assert find_bundle("tiny") == find_bundle(bundle.folder) == find_bundle(str(bundle.folder)) == bundle.folder


def test_without_a_name_the_first_place_that_has_bundles_must_have_one(bundle, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    places = os.pathsep.join([str(tmp_path / "empty"), str(bundle.folder.parent)])
    monkeypatch.setenv("MEDSEG_RL_BUNDLES", places)
    assert find_bundle() == bundle.folder
    shutil.copytree(bundle.folder, bundle.folder.with_name("another"))
    with pytest.raises(BundleError, match=f"which bundle.*another.*{bundle.folder.name}"):
        find_bundle()


def test_without_a_name_the_one_for_any_structure_is_taken_or_the_only_one_that_gives_a_start(bundle, monkeypatch):
    general = shutil.copytree(bundle.folder, bundle.folder.with_name("general"))
    (general / "models" / "automatic.safetensors").unlink()
    monkeypatch.setenv("MEDSEG_RL_BUNDLES", str(bundle.folder.parent))
    assert find_bundle() == general
    assert find_bundle(automatic=True) == bundle.folder


def test_an_unknown_name_lists_the_names_there_are(bundle, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDSEG_RL_BUNDLES", str(bundle.folder.parent))
    with pytest.raises(BundleError, match=r"there is no bundle 'huge'; give one of .*tiny"):
        find_bundle("huge")
    with pytest.raises(BundleError, match=r"without manifest\.json, so it is no bundle"):
        find_bundle(tmp_path)
    with pytest.raises(BundleError, match="there is no bundle"):
        find_bundle("../models/tiny")


def test_it_warns_of_a_modality_and_a_spacing_it_was_not_trained_on(bundle):
    array = np.zeros((4, 4, 4), np.float32)
    assert bundle.warnings(Volume(array, np.eye(4), "MR")) == ()
    assert bundle.warnings(Volume(array, np.eye(4), None)) == ()
    said = " ".join(bundle.warnings(Volume(array, np.diag([1.0, 1.0, 5.0, 1.0]), "CT")))
    assert "this image is CT, but tiny was trained on MR" in said
    assert "1.00 to 5.00 mm wide, but tiny was trained on 0.80 to 1.20 mm" in said


def test_loading_a_bundle_loads_no_torch(bundle):
    command = f"import sys; from medseg_rl.bundle import load_bundle; load_bundle({str(bundle.folder)!r}); "
    command += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
