"""A study on a Ray cluster of this machine: the numbers of the local engine, and what a cluster cannot do, said."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from csasn.files import file_sha256
from tests.support.miniature_study import CONFIGS, ablate, content_of, simulate

SUITE = f"""
base = "{CONFIGS / "smoke.toml"}"
seeds = [0]

[settings.fit]

[[variants]]
name = "full"

[[variants]]
name = "no-attention"
module = "Attention"
instead = "none"
settings.network.attention = "none"
"""
BROKEN = '\n[[variants]]\nname = "broken"\nmodule = "CNN"\ninstead = "nothing"\nsettings.network.cnn = "no_such_net"\n'


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("ray") / "cohort")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "suite.toml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of one node with two cores, whose processes end with the tests."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from ray.cluster_utils import Cluster

    own = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield own.address
    own.shutdown()


def test_ray_and_two_local_workers_give_the_same_predictions(
    cohort: Path, cluster: str, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    assert ablate(cohort, tmp_path / "local", suite, "--workers", "2") == 0
    suite.write_text(SUITE + BROKEN)
    assert ablate(cohort, tmp_path / "ray", suite, "--engine", "ray") == 3
    states = {unit["name"]: (unit["state"], unit["error"]) for unit in content_of(tmp_path / "ray")["units"]}
    assert states["broken-seed0"][0] == "failed"
    assert "timm has no network named no_such_net" in states["broken-seed0"][1]
    for unit in ("full-seed0", "no-attention-seed0"):
        assert states[unit] == ("finished", "")
        one, other = (file_sha256(tmp_path / each / f"units/{unit}/predictions.parquet") for each in ("ray", "local"))
        assert one == other


def test_a_unit_that_no_node_can_take_is_refused(
    cohort: Path,
    cluster: str,
    suite: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    assert ablate(cohort, tmp_path / "study", suite, "--engine", "ray", "--cpus", "3", "--gpus", "0.5") == 1
    assert "what a unit needs, 3 cores and 0.5 GPUs; the cluster has 2 cores, 0 GPUs" in capsys.readouterr().err


def test_where_nobody_answers_it_says_how_to_start_a_cluster(cohort: Path, suite: Path, tmp_path: Path) -> None:
    """In a process of its own, as Ray reads how often it is to try when it is imported; it takes 40 seconds."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    command = [sys.executable, "-m", "csasn", "ablate", "--cohort", cohort, "--suite", suite]
    done = subprocess.run(
        [*command, "--out", tmp_path / "study", "--engine", "ray"],
        env=os.environ | {"RAY_ADDRESS": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "takes a Ray cluster that runs already; there is none" in done.stderr


def test_without_ray_it_names_the_extra(
    cohort: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ablate(cohort, tmp_path / "study", suite, "--engine", "ray") == 1
    assert "install csasn[cluster], or take --engine local" in capsys.readouterr().err


def test_a_finished_study_needs_no_cluster(
    cohort: Path, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ablate(cohort, tmp_path / "study", suite) == 0
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ablate(cohort, tmp_path / "study", suite, "--engine", "ray") == 0
