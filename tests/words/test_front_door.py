"""`import csasn` is quick and shows a handful of names."""

import doctest
import json
import subprocess
import sys

import pytest

import csasn


def loaded(code: str) -> list[str]:
    """The modules that a fresh interpreter has after some code."""
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}; import json, sys; print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    names: list[str] = json.loads(shown.stdout)
    return names


def test_the_docstring_runs_word_for_word() -> None:
    tried = doctest.testmod(csasn)
    assert tried.attempted > 5
    assert tried.failed == 0


@pytest.mark.parametrize("name", csasn.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    found = getattr(csasn, name)
    assert name == "__version__" or found.__doc__


def test_the_names_are_a_handful_and_the_only_ones() -> None:
    assert len(csasn.__all__) <= 12
    assert dir(csasn) == sorted(csasn.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Trainee'; it has ClassList"):
        csasn.Trainee  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "polars", "pydantic", "timm", "sklearn", "scipy", "tyro"}
    assert not heavy.intersection(loaded("import csasn"))
    assert not {"torch", "polars", "pydantic"}.intersection(loaded("import csasn.cli"))
    assert "torch" not in loaded("import csasn; csasn.open_run; csasn.Configuration; csasn.ClassList")
