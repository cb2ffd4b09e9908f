"""Pages and pictures that scripts write from the source are what the scripts write today."""

import re
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from csasn.cli import COMMANDS
from csasn.stages import STAGES
from docs.pictures import house, run, svg
from docs.reference import command_line
from docs.results import tables

ROOT = Path(__file__).parents[2]
AGAIN = "the source has changed: `make pages` writes the page or picture again"
PICTURES = {"house": house.draw, "run": run.draw}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_what_its_script_draws(name: str) -> None:
    assert (ROOT / f"docs/pictures/{name}.svg").read_text(encoding="utf-8") == PICTURES[name](), AGAIN


@pytest.mark.parametrize("name", PICTURES)
def test_picture_loads_nothing(name: str) -> None:
    drawn = PICTURES[name]()
    ElementTree.fromstring(drawn)  # noqa: S314 - our own
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)|href|url\(|<script", drawn) == []


def test_the_house_has_every_room_of_the_source() -> None:
    drawn = house.draw()
    rooms = [path.parent.name for path in (ROOT / "src/csasn").glob("*/__init__.py")]
    assert [room for room in rooms if f">{room}/<" not in drawn] == []


def test_the_run_has_every_stage_and_names_files_that_the_reference_has() -> None:
    drawn, reference = run.draw(), (ROOT / "docs/reference/run-folder.md").read_text(encoding="utf-8")
    assert [stage for stage in STAGES if f">csasn {stage}<" not in drawn] == []
    named = re.findall(r"[\w-]+(?:\.\w+|/)", " ".join(run.FILES[stage] for stage in STAGES))
    assert [name for name in named if name.rstrip("/") not in reference] == []


def test_words_too_long_for_their_box_are_refused() -> None:
    with pytest.raises(ValueError, match="make it shorter"):
        svg.Picture("a title", 200).text(10, 20, "words that are wider than the box", room=100)


def test_the_command_line_page_is_what_the_program_prints() -> None:
    committed = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    assert committed == command_line.page(), AGAIN


def test_the_command_line_page_has_every_command_and_setting() -> None:
    committed = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^## csasn (\w+)$", committed, flags=re.MULTILINE) == list(COMMANDS)
    assert "--fit.finetune.learning-rate FLOAT" in committed


def test_help_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    before = command_line.help_of("simulate")
    for name, value in {"COLUMNS": "40", "FORCE_COLOR": "1", "TERM": "xterm-256color"}.items():
        monkeypatch.setenv(name, value)
    assert command_line.help_of("simulate") == before


RESULTS = sorted((ROOT / "docs/results").glob("*.md"))


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.stem)
def test_tables_of_results_are_those_kept_beside_them(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == tables.page_with_tables(page), AGAIN
    outside = re.sub(tables.BLOCK, "", text)
    assert not re.search(r"^\|", outside, flags=re.MULTILINE), "a table is kept as JSON: see docs/results/tables.py"


def test_a_table_without_its_place_and_a_short_row_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# How long?\n\n<!-- table time -->\n<!-- end -->\n")
    page.with_suffix(".json").write_text('{"time": {"columns": ["what", "s"], "rows": [["fit", 3.5]]}}')
    assert "| fit | 3.5 |\n" in tables.page_with_tables(page)
    page.with_suffix(".json").write_text('{"time": {"columns": ["what", "s"], "rows": [["fit"]]}}')
    with pytest.raises(ValueError, match="a cell a column"):
        tables.page_with_tables(page)
    page.write_text("# How long?\n")
    with pytest.raises(ValueError, match="has places for"):
        tables.page_with_tables(page)


def test_screenshots_are_small() -> None:
    shots = sorted((ROOT / "docs/pictures").glob("*.png"))
    assert shots
    assert {path.name: path.stat().st_size for path in shots if path.stat().st_size >= 150_000} == {}
    for path in shots:
        with Image.open(path) as shot:
            assert shot.width >= 1000, path.name


def test_every_dependency_has_a_lower_bound_and_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    rows = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    named = {
        name for cell in re.findall(r"^\| ([^|(]*)", rows, flags=re.MULTILINE) for name in cell.strip().split(", ")
    }
    assert [one for one in wanted if ">=" not in one] == []
    assert sorted({re.split(r"[\[>]", one)[0] for one in wanted} - named) == []
