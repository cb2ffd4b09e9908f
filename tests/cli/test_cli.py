"""The command line: quick to answer, and plain when it refuses."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from csasn import __version__
from csasn.cli import COMMANDS, main, path_behind

HEAVY = ("torch", "torchvision", "timm", "polars", "lightning_fabric", "sklearn", "scipy", "matplotlib")
HELP = """
import sys
from csasn.cli import main
try:
    main(["--help"])
except SystemExit as end:
    print("exit", end.code)
print("loaded", sorted(set(sys.argv[1:]) & set(sys.modules)))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a refused command says on standard error."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    answer = python("-c", HELP, *HEAVY)
    assert answer.returncode == 0, answer.stderr
    assert "exit 0" in answer.stdout
    assert "loaded []" in answer.stdout
    for command in COMMANDS:
        assert command in answer.stdout


def seconds_of(*arguments: str) -> float:
    """Seconds of wall time of one run."""
    started = time.perf_counter()
    assert python(*arguments).returncode == 0
    return time.perf_counter() - started


def test_help_into_a_reader_that_has_ended_leaves_no_traceback() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "csasn", "run", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=120)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "csasn: nothing reads the output any longer; ended there.\n")


def test_another_broken_pipe_is_not_taken_for_it() -> None:
    work = """
import csasn.cli
def parsed(given):
    raise BrokenPipeError("of a worker")
csasn.cli.parsed = parsed
csasn.cli.main(["run"])
"""
    done = subprocess.run([sys.executable, "-c", work], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "BrokenPipeError: of a worker")


def test_help_answers_at_once() -> None:
    """Half a second, or, on a slow or busy machine, 1.6 times what the libraries of the command line alone need.

    Both are timed in turn, and the pair that was disturbed least counts: the load of a machine changes within seconds.
    """
    pairs = []
    for _ in range(5):
        took = seconds_of("-m", "csasn", "--help")
        if took < 0.5:
            return
        pairs.append((took, seconds_of("-c", "import pydantic, tyro, rich")))
    took, baseline = min(pairs, key=lambda pair: pair[0] / pair[1])
    assert took < 1.6 * baseline, f"--help took {took:.2f} s, importing pydantic, tyro and rich {baseline:.2f} s"


def test_an_unknown_run_folder_is_one_message_and_exit_code_1(tmp_path: Path) -> None:
    answer = python("-m", "csasn", "evaluate", str(tmp_path / "nowhere"))
    assert answer.returncode == 1
    assert f"csasn: {tmp_path / 'nowhere'} is not a run folder" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "Wrote" not in answer.stdout


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_an_unknown_setting_of_the_config_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("[fit]\nlerning_rate = 1.0\n")
    given = form.format(path).split()
    said = refused(capsys, "run", "--cohort", str(tmp_path), "--out", str(tmp_path / "run"), *given)
    assert said.startswith(f"csasn: {path}")
    assert "fit.lerning_rate" in said
    assert not (tmp_path / "run").exists()


def test_a_missing_config_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "split", "--cohort", "c", "--out", "o", "--config", str(tmp_path / "none.toml"))
    assert "none.toml" in said


def test_a_missing_cohort_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "run", "--cohort", str(tmp_path), "--out", str(tmp_path / "run"))
    assert f"No manifest.parquet in {tmp_path}" in said


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run"], ["run", "--cohort", "c", "--out", "o", "--fit.oops", "1"]]
)
def test_a_command_that_cannot_be_read_ends_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"csasn {__version__}\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["run", "--config", "a.toml"], Path("a.toml")),
        (["run", "--config=a.toml", "--out", "o"], Path("a.toml")),
        (["run", "--out", "o"], None),
        (["run", "--config"], None),
    ],
)
def test_the_config_file_is_found_wherever_it_stands(given: list[str], expected: Path | None) -> None:
    assert path_behind("--config", given) == expected


def test_settings_of_the_command_line_stand_above_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "some.toml"
    path.write_text("[fit]\nbatch_size = 8\n[fit.frozen]\nepochs = 3\n")
    seen = []
    monkeypatch.setattr("csasn.runs.create_run", lambda *given: seen.append(given))
    monkeypatch.setattr("csasn.cohort.split.split_run", lambda _: tmp_path)
    monkeypatch.setattr("csasn.cli.cohort_commands.tell_of_split", lambda _: None)  # there is no run to tell of
    main(["split", "--cohort", "c", "--out", "o", "--config", str(path), "--fit.frozen.epochs", "5"])
    (cohort, out, settings), *more = seen
    assert not more
    assert (cohort, out) == (Path("c"), Path("o"))
    assert (settings.fit.batch_size, settings.fit.frozen.epochs, settings.fit.seed) == (8, 5, 0)


def test_a_renamed_command_and_option_name_the_new_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["refusal", "RUN"], "`csasn refusal` is called `csasn abstention` now"),
        (["run", "--cohort", "c", "--out", "o", "--fit.finetune-epochs", "2"], "is called --fit.finetune.epochs now"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert (ended.value.code, words in capsys.readouterr().err) == (1, True)
