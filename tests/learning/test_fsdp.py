"""FSDP over two gloo processes: blocks in parts, states whole, one norm, and a cut training that ends the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from csasn.config import FitSettings
from csasn.errors import BadInputError
from csasn.learning.session import start_fabric

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("sharded")
    command = [sys.executable, "-m", "tests.support.sharded", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"process-{number}.json").read_text()) for number in range(2)]


def test_each_process_keeps_a_part_of_the_transformers_blocks_and_all_of_the_rest(
    found: list[dict[str, object]],
) -> None:
    assert all(each["sharded"] == ["network.branches.vit.backbone"] for each in found)
    assert sum(each["n_here"] for each in found) == found[0]["n_sharded"] > 100_000
    assert all(each["n_here"] < 0.6 * each["n_sharded"] for each in found)
    assert all(each["same"] for each in found)


def test_one_device_has_nothing_to_share() -> None:
    with pytest.raises(BadInputError, match="at least two devices"):
        start_fabric(FitSettings(accelerator="cpu"), strategy="fsdp")


def test_the_norm_is_that_of_the_whole_gradient(found: list[dict[str, object]]) -> None:
    for each in found:
        assert each["norms"] == pytest.approx([each["expected"], 1.0], rel=1e-4)


def test_cut_in_fine_tuning_and_resumed_it_ends_with_the_same_bits(found: list[dict[str, object]]) -> None:
    ends = {end for each in found for end in each["ends"]}
    assert len(ends) == 1
