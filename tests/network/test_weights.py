"""Where weights come from, with which hash, and how a file that does not fit is refused."""

import hashlib
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from csasn.config import NetworkSettings
from csasn.errors import WeightsError
from csasn.network.backbones import build_vit
from csasn.network.weights import PACKAGE, build_branches, state_sha256

BOTH = NetworkSettings(cnn="test_efficientnet", cnn_channels=256, vit="test_vit", vit_channels=64)
CNN = BOTH.model_copy(update={"branches": "cnn"})
LITE = NetworkSettings(branches="cnn", cnn="tf_efficientnet_lite0", cnn_channels=1280)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both tiny networks' weights under their timm names."""
    torch.manual_seed(11)
    for name, options in (("test_efficientnet", {}), ("test_vit", {"img_size": 64})):
        network = timm.create_model(name, num_classes=0, **options)
        save_file(
            {key: each.contiguous() for key, each in network.state_dict().items()}, tmp_path / f"{name}.safetensors"
        )
    return tmp_path


def test_a_folder_is_loaded_and_named_with_its_hash(folder: Path) -> None:
    branches, origins = build_branches(BOTH, weights=str(folder), size_px=64)
    for kind, name in (("cnn", "test_efficientnet"), ("vit", "test_vit")):
        path = folder / f"{name}.safetensors"
        state = branches[kind].backbone.state_dict()
        stored = load_file(path)
        assert stored.keys() == state.keys()
        assert all(torch.equal(state[key], each) for key, each in stored.items())
        assert origins[kind].name == name
        assert origins[kind].source == str(path)
        assert origins[kind].sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert origins[kind].state_sha256 == state_sha256(branches[kind].backbone)


def test_a_missing_file_in_a_named_folder_is_named(folder: Path) -> None:
    path = folder / "test_vit.safetensors"
    path.unlink()
    with pytest.raises(WeightsError) as caught:
        build_branches(BOTH, weights=str(folder), size_px=64)
    assert str(path) in str(caught.value)


def test_none_is_random_and_reproducible() -> None:
    found = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        _, origins = build_branches(BOTH, weights="none", size_px=64)
        assert {(each.source, each.sha256) for each in origins.values()} == {("none", None)}
        found.append((origins["cnn"].state_sha256, origins["vit"].state_sha256))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
    assert found[0][1] != found[2][1]


def test_only_the_used_branch_is_built() -> None:
    branches, origins = build_branches(CNN, weights="none", size_px=64)
    assert list(branches) == list(origins) == ["cnn"]


def test_auto_takes_the_folder_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSASN_WEIGHTS", str(folder))
    assert build_branches(CNN, weights="auto", size_px=64)[1]["cnn"].source.startswith(str(folder))
    (folder / "test_efficientnet.safetensors").unlink()
    assert build_branches(CNN, weights="auto", size_px=64)[1]["cnn"].source == "none"


def test_the_package_is_imagenets_lite0_in_timms_order(monkeypatch: pytest.MonkeyPatch, weights_folder: Path) -> None:
    pytest.importorskip(PACKAGE)
    monkeypatch.delenv("CSASN_WEIGHTS", raising=False)
    _, origins = build_branches(LITE, weights="auto", size_px=64)
    assert origins["cnn"].source == PACKAGE
    assert len(origins["cnn"].sha256) == 64
    _, stored = build_branches(LITE, weights=str(weights_folder), size_px=64)
    assert origins["cnn"].state_sha256 == stored["cnn"].state_sha256


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The hub's own offline switch makes the real call fail at once, where a dead network is retried for a minute."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"could not be fetched from the hub .*--fit\.weights none"):
        build_branches(CNN, weights="hub", size_px=64)


@pytest.mark.parametrize("damage", ["rubbish", "truncated", "empty"])
def test_a_damaged_file_is_refused_by_name(folder: Path, damage: str) -> None:
    path = folder / "test_efficientnet.safetensors"
    whole = path.read_bytes()
    path.write_bytes({"rubbish": b"rubbish" * 99, "truncated": whole[: len(whole) // 2], "empty": b""}[damage])
    with pytest.raises(WeightsError) as caught:
        build_branches(CNN, weights=str(folder), size_px=64)
    assert str(path) in str(caught.value)


def test_another_networks_shapes_are_refused(folder: Path) -> None:
    path = folder / "test_efficientnet.safetensors"
    save_file(load_file(path) | {"conv_stem.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="does not fit test_efficientnet"):
        build_branches(CNN, weights=str(folder), size_px=64)


@pytest.mark.parametrize("kept", ["nothing", "half"])
def test_a_file_that_lacks_layers_is_refused(folder: Path, kept: str) -> None:
    path = folder / "test_efficientnet.safetensors"
    stored = load_file(path)
    names = sorted(stored)[: len(stored) // 2] if kept == "half" else []
    save_file({"strange.weight": torch.zeros(3)} | {name: stored[name] for name in names}, path)
    with pytest.raises(WeightsError):
        build_branches(CNN, weights=str(folder), size_px=64)


def test_positions_are_resampled_to_the_runs_size(weights_folder: Path) -> None:
    name = "vit_small_patch14_dinov2"
    path = weights_folder / f"{name}.safetensors"
    branch = build_vit(name, channels=384, size_px=70, overlay={"file": str(path)})
    stored, found = load_file(path), branch.backbone.state_dict()
    assert stored["pos_embed"].shape[1] != found["pos_embed"].shape[1] == 1 + 5 * 5  # class token, patches
    assert found["pos_embed"].std() == pytest.approx(stored["pos_embed"].std(), rel=0.5)
    same = [key for key in stored if key != "pos_embed" and key in found]
    assert len(same) == len(found) - 1
    assert all(torch.equal(stored[key], found[key]) for key in same)
    with torch.no_grad():
        seen = branch.eval()(torch.rand(1, 1, 70, 70))
    assert seen.map.shape == (1, 384, 3, 3)
    assert torch.isfinite(seen.map).all()
