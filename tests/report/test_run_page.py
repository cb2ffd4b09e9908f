import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from csasn.errors import BadInputError
from csasn.evidence.abstention import Abstained
from csasn.report.figures.confusion import confusion
from csasn.report.figures.weights import moving
from csasn.report.figures.weights import weights as weights_course
from csasn.report.formatting import shown_targets
from csasn.report.plotting import draw
from csasn.report.run_page import report_run
from csasn.report.sections.abstention import abstains_too_often
from csasn.report.sections.errors import hardest_errors
from csasn.report.thumbnail import thumbnail
from csasn.runs import Run
from csasn.schema import ClassList
from csasn.units import UNKNOWN, Units
from tests.support.evaluation import evaluate_run
from tests.support.synthetic_run import make_run, weights

SECTIONS = {"cohort", "checks", "results", "baselines", "curves", "confusion", "reliability", "training", "errors"}
SECTIONS |= {"limits", "made", "sites", "sets", "value"}
FIGURES = {"roc", "precision-recall", "confusion", "reliability", "training", "comparison"}
FIGURES |= {"flow", "sites", "coverage", "decision", "weights"}


class Outline(HTMLParser):
    """Ids and tags of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = make_run(tmp_path_factory.mktemp("simulated"))
    evaluate_run(made)
    return made


@pytest.fixture(scope="module")
def page(run: Run) -> str:
    return report_run(run).read_text()


def test_the_page_has_every_section_and_no_script(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert set(outline.ids) >= SECTIONS
    assert len(outline.ids) == len(set(outline.ids))
    assert "script" not in outline.tags
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert outline.tags.count("svg") == len(FIGURES)
    assert "FAILED" in page
    assert "none: random start" in page


def test_a_simulated_run_says_so_on_every_section_and_figure(run: Run, page: str) -> None:
    assert page.count('<span class="stamp">SIMULATED</span>') == page.count("<h2")
    assert "SIMULATED COHORT: not clinical evidence" in page
    found = {path.stem: path.read_text() for path in run.path("figures").glob("*.svg")}
    assert set(found) == FIGURES
    assert all("SIMULATED COHORT" in svg for svg in found.values())


def test_a_class_that_is_all_of_malignancy_is_shown_once() -> None:
    def units(*, y_true: list[int], malignant: list[bool], names: tuple[str, ...]) -> Units:
        classes = ClassList(names=names, n_non_malignant=1)
        y_prob = np.full((len(y_true), len(names)), 1 / len(names))
        patients = np.arange(len(y_true))
        return Units(
            classes=classes, y_true=np.array(y_true), malignant=np.array(malignant), y_prob=y_prob, patients=patients
        )

    two, three = ("benign", "PTC"), ("benign", "PTC", "ATC")
    assert shown_targets(units(y_true=[0, 1], malignant=[False, True], names=two)) == ("malignancy", "benign")
    unknown = units(y_true=[0, 1, UNKNOWN], malignant=[False, True, True], names=two)
    assert shown_targets(unknown) == ("malignancy", "benign", "PTC")  # malignancy has a patient more
    assert shown_targets(units(y_true=[0, 1], malignant=[False, True], names=three)) == ("malignancy", *three)


def test_detectors_that_refuse_more_known_patients_than_promised_are_named() -> None:
    def row(detector: str, share: float, low: float, target: str = "all") -> Abstained:
        high = min(1.0, share + 0.02)
        return Abstained(detector=detector, target=target, share=share, low=low, high=high, n_abstained=1, n=9)

    rows = [row("energy", 0.06, 0.04), row("gate", 0.85, 0.83), row("gate", 0.9, 0.88, "FTC")]
    words = abstains_too_often(rows, 0.05)
    assert "than the promised 0.05: gate 0.85 (0.83–0.87)." in words
    assert "energy" not in words
    assert abstains_too_often(rows[:1], 0.05) == ""


def test_figures_per_nodule_stand_where_a_patient_has_two(run: Run, page: str) -> None:
    nodules = run.manifest().select("patient_id", "nodule_id").unique()
    assert ("Per nodule" in page) == (nodules.height > nodules["patient_id"].n_unique())


def test_what_others_wrote_is_escaped(page: str) -> None:
    assert "P<b>007" not in page
    assert "P&lt;b&gt;007&lt;/b&gt;" in page
    assert "Hill & Dale" not in page
    assert "Hill &amp; Dale" in page


def test_the_hardest_errors_are_errors_and_say_where_a_picture_is_missing(run: Run) -> None:
    predictions = pl.read_parquet(run.path("predictions.parquet"))
    errors = hardest_errors(predictions, run.classes(), n=200)
    assert all(each.reference != each.predicted for each in errors)
    assert [each.p_reference for each in errors] == sorted(each.p_reference for each in errors)
    root = run.images_root()
    missing = {each.reference == "ATC": thumbnail(root, each.image_path) for each in errors}
    assert missing[True] == (None, "the picture is missing")
    assert missing[False][0] is not None
    assert thumbnail(root, "../../elsewhere.png") == (None, "the path leads out of the images' folder")


def test_every_figure_and_table_lies_beside_the_page(run: Run, page: str) -> None:
    for name in FIGURES:
        with Image.open(run.path(f"figures/{name}.png")) as picture:
            assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    table = pl.read_csv(run.path("tables/cohort.csv"))
    assert table["Patients"].sum() == 144
    assert {path.stem for path in run.path("tables").glob("*.csv")} >= {"overall", "per-class", "sites", "models"}


@pytest.mark.parametrize(("name", "n_items"), [("tripod-ai", 52), ("claim-2024", 44)])
def test_every_item_of_a_checklist_is_filled_or_for_the_authors(run: Run, page: str, name: str, n_items: int) -> None:
    rows = re.findall(r"^\| (\d+[a-g]?) \| (.+?) \| (.+) \|$", run.path(f"{name}.md").read_text(), re.MULTILINE)
    assert len(rows) == len({number for number, _, _ in rows}) == n_items
    assert all(matter.strip() and answer.strip() for _, matter, answer in rows)
    n_authors = sum(answer.startswith("For the authors") for _, _, answer in rows)
    assert 0 < n_authors < n_items / 2
    assert "SIMULATED COHORT" in run.path(f"{name}.md").read_text()


def test_the_model_card_says_what_the_run_found(run: Run, page: str) -> None:
    card = run.path("model_card.md").read_text()
    assert "SIMULATED COHORT" in card
    assert "Not a medical device" in card
    sentence = re.search(r"macro AUROC of ([\d.]+)", page)
    assert sentence is not None
    assert sentence[0] in card
    assert "Hill & Dale (48 patients)" in card


def test_the_same_numbers_give_the_same_bytes() -> None:
    once, again = (
        draw("confusion", "", lambda: confusion(["a", "b"], [[3, 1], [0, 0]]), simulated=True) for _ in range(2)
    )
    assert once == again


def test_the_weights_course_shows_the_kinds_in_which_a_weight_moves() -> None:
    """The classes' weights stand still: one row of panels is left, a line a task and fold in each stage."""
    moved = moving(weights())
    assert set(moved["kind"]) == {"task"}
    figure = weights_course(moved)
    assert [len(axes.lines) for axes in figure.axes] == [1 + 2 * 3, 1 + 2 * 3]
    line = figure.axes[0].lines[1]
    assert line.get_ydata()[:3] == pytest.approx([1, 1 + 1 / 30, 1 + 2 / 30])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "task: malignancy",
        "task: class if malignant",
    ]
    assert moving(weights(moving=False)).is_empty()


def test_a_real_cohort_is_not_stamped(tmp_path: Path) -> None:
    made = make_run(tmp_path, simulated=False)
    with pytest.raises(BadInputError, match="earlier stages"):
        report_run(made)
    evaluate_run(made)
    assert "SIMULATED" not in report_run(made).read_text()
    assert all("SIMULATED" not in path.read_text() for path in made.path("figures").glob("*.svg"))
    assert made.finished("report")
