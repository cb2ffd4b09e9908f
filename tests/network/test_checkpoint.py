"""Checkpoints: whole, checked by hash, and valid only with their notes."""

from pathlib import Path

import pytest
import torch

from csasn.errors import BadInputError, MismatchError
from csasn.files import file_sha256
from csasn.network.checkpoint import has_checkpoint, read_checkpoint, write_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tensors = {
        "plain": torch.arange(6.0).reshape(2, 3),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "learned": torch.ones(2, requires_grad=True),
        "counts": torch.tensor(7),
    }
    path = tmp_path / "csasn" / "fold0.safetensors"
    write_checkpoint(path, tensors, {"history": [{"epoch": 0}], "finetuned": False})
    return path


def test_round_trip(path: Path) -> None:
    assert has_checkpoint(path)
    tensors, notes = read_checkpoint(path)
    assert torch.equal(tensors["plain"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(tensors["transposed"], torch.arange(6.0).reshape(2, 3).T)
    assert tensors["learned"].tolist() == [1, 1]
    assert tensors["counts"].item() == 7
    assert notes == {"history": [{"epoch": 0}], "finetuned": False, "sha256": file_sha256(path)}
    assert sorted(each.name for each in path.parent.iterdir()) == ["fold0.json", "fold0.safetensors"]


def test_a_changed_file_is_refused_with_both_hashes(path: Path) -> None:
    expected = file_sha256(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MismatchError) as caught:
        read_checkpoint(path)
    assert expected in str(caught.value)
    assert file_sha256(path) in str(caught.value)


def test_changed_notes_are_refused(path: Path) -> None:
    notes = path.with_suffix(".json")
    notes.write_text(notes.read_text().replace("false", "true"))
    with pytest.raises(MismatchError, match="notes of the checkpoint"):
        read_checkpoint(path)


def test_without_notes_there_is_no_checkpoint(path: Path) -> None:
    path.with_suffix(".json").unlink()
    assert not has_checkpoint(path)
    with pytest.raises(BadInputError, match=r"fold0\.json is missing"):
        read_checkpoint(path)


def test_notes_without_tensors_are_refused(path: Path) -> None:
    path.unlink()
    assert has_checkpoint(path)
    with pytest.raises(BadInputError, match=r"fold0\.safetensors is missing"):
        read_checkpoint(path)
