"""A study on a Ray cluster of this machine: the numbers of the local engine, and what a cluster cannot do, said."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from csasn.cli import main
from csasn.files import file_sha256

CONFIGS = Path(__file__).parents[1] / "configs"
SUITE = f"""
base = "{CONFIGS / "smoke.toml"}"
seeds = [0]

[settings.fit]
frozen_epochs = 1

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
    folder = tmp_path_factory.mktemp("ray") / "cohort"
    main(["simulate", "--out", str(folder), "--patients", "40", "--sites", "2", "--seed", "1"])
    return folder


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of one node with two cores, whose processes end with the tests."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from ray.cluster_utils import Cluster

    own = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield own.address
    own.shutdown()


def ablate(cohort: Path, study: Path, *more: str, suite: str = SUITE) -> int:
    path = study.parent / f"{study.name}.toml"
    path.write_text(suite)
    try:
        main(["ablate", "--cohort", str(cohort), "--suite", str(path), "--out", str(study), *more])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def content_of(study: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((study / "study.json").read_text())
    return content


def test_ray_and_two_local_workers_give_the_same_predictions(
    cohort: Path, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    assert ablate(cohort, tmp_path / "ray", "--engine", "ray", suite=SUITE + BROKEN) == 3
    assert ablate(cohort, tmp_path / "local", "--workers", "2") == 0
    states = {unit["name"]: (unit["state"], unit["error"]) for unit in content_of(tmp_path / "ray")["units"]}
    assert states["broken-seed0"][0] == "failed"
    assert "timm has no network named no_such_net" in states["broken-seed0"][1]
    for unit in ("full-seed0", "no-attention-seed0"):
        assert states[unit] == ("finished", "")
        one, other = (file_sha256(tmp_path / each / f"units/{unit}/predictions.parquet") for each in ("ray", "local"))
        assert one == other


def test_a_unit_that_no_node_can_take_is_refused(
    cohort: Path, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    assert ablate(cohort, tmp_path / "study", "--engine", "ray", "--cpus", "3", "--gpus", "0.5") == 1
    assert "what a unit needs, 3 cores and 0.5 GPUs; the cluster has 2 cores, 0 GPUs" in capsys.readouterr().err


def test_where_nobody_answers_it_says_how_to_start_a_cluster(cohort: Path, tmp_path: Path) -> None:
    """In a process of its own, as Ray reads how often it is to try when it is imported; it takes 40 seconds."""
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    (tmp_path / "suite.toml").write_text(SUITE)
    command = [sys.executable, "-m", "csasn", "ablate", "--cohort", cohort, "--suite", tmp_path / "suite.toml"]
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
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert ablate(cohort, tmp_path / "study", "--engine", "ray") == 1
    assert "install csasn[cluster], or take --engine local" in capsys.readouterr().err
