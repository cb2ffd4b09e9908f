"""Report, comparison and study in a real browser: nothing on the console, nothing beyond the edge, pages that print."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pytest
from playwright.sync_api import Browser, sync_playwright

from csasn.evidence.ablation import Arm, ablation_content
from csasn.evidence.compare_runs import compare_runs
from csasn.files import write_json
from csasn.report.comparison_page import report_comparison
from csasn.report.run_page import report_run
from csasn.report.study_page import report_study
from tests.support.evaluation import evaluate_run
from tests.support.synthetic_maps import explain_by_hand
from tests.support.synthetic_run import make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("browser"))
    explain_by_hand(run)
    evaluate_run(run)
    return report_run(run)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    first, second = make_run(folder / "one"), make_run(folder / "two")
    predictions = pl.read_parquet(second.path("predictions.parquet")).with_columns(pl.col("logit_PTC") * 0.5)
    predictions.write_parquet(second.path("predictions.parquet"))
    second.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return report_comparison(compare_runs(first, second, folder / "out"))


MODULES = {
    "cnn-only": ("Transformer branch", "CNN alone"),
    "pooled-fusion": ("Fusion of maps", "pooled vectors"),
    "linear": ("Residual multiscale classifier", "pooling alone"),
    "classes-inverse-frequency": ("Dynamic class weights", "inverse frequency"),
    "vit-logistic-regression": ("CSASN", "logistic regression on the ViT's class token"),
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many variants as make a page, one of them failed; each reads a little worse than the one before."""
    folder = tmp_path_factory.mktemp("study")
    arms, units = [], []
    for number, name in enumerate(["full", *MODULES]):
        run = make_run(folder / name)
        frame = pl.read_parquet(run.path("predictions.parquet"))
        worse = 0.8**number
        frame.with_columns(
            cs.starts_with("logit_") * worse, cs.starts_with("probability_") * worse + 0.1
        ).write_parquet(run.path("predictions.parquet"))
        run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
        module, instead = MODULES.get(name, ("", ""))
        arms.append(Arm(name=name, module=module, instead=instead, runs={0: run}))
        units.append({"name": f"{name}-seed0", "variant": name, "seed": 0, "state": "finished", "error": ""})
    error = "csasn.errors.BadInputError: timm has no network named no_such_net. Near it: see timm.list_models()."
    units.append({"name": "broken-seed0", "variant": "broken", "seed": 0, "state": "failed", "error": error})
    content = asdict(ablation_content(arms, full="full")) | {
        "cohort": "four-hospitals",
        "simulated": True,
        "scheme": "leave-one-site-out",
        "csasn": "0.1.0",
        "manifest_sha256": "0" * 64,
        "suite": {"file": "paper.toml", "sha256": "0" * 64, "seeds": [0], "changed": {"fit.frozen.epochs": 30}},
        "units": units,
        "costs": {
            arm.name: {"parameters": 26_000_000, "gflops": 5.5 + k, "images_per_s": 535.0, "training_minutes": 2.5}
            for k, arm in enumerate(arms)
        },
    }
    write_json(folder / "study.json", content)
    return report_study(folder / "study.json")


@pytest.mark.parametrize("width_px", [1280, 390])
@pytest.mark.parametrize(("name", "fewest_figures"), [("report", 6), ("comparison", 2), ("study", 2)])
def test_nothing_on_the_console_and_nothing_beyond_the_edge(
    browser: Browser, request: pytest.FixtureRequest, name: str, fewest_figures: int, width_px: int
) -> None:
    written = request.getfixturevalue(name)
    page = browser.new_page(viewport={"width": width_px, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(written.as_uri())
    assert said == [written.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    inside = "[...document.querySelectorAll('svg, img')].every(e => e.getBoundingClientRect().right <= innerWidth)"
    assert page.evaluate(inside)
    assert page.locator("figure svg").count() >= fewest_figures
    page.close()


@pytest.mark.parametrize("name", ["report", "comparison", "study"])
def test_every_name_in_the_list_of_sections_leads_to_one(
    browser: Browser, request: pytest.FixtureRequest, name: str
) -> None:
    page = browser.new_page()
    page.goto(request.getfixturevalue(name).as_uri())
    for link in page.locator("nav a").all():
        target = link.get_attribute("href")
        assert target is not None
        assert page.locator(target).count() == 1
        link.click()
        assert page.locator(target).is_visible()
    page.close()


@pytest.mark.parametrize(("name", "fewest", "most"), [("report", 5, 30), ("comparison", 2, 6), ("study", 2, 8)])
def test_it_prints_to_a_sane_number_of_pages(
    browser: Browser, request: pytest.FixtureRequest, name: str, fewest: int, most: int
) -> None:
    page = browser.new_page()
    page.goto(request.getfixturevalue(name).as_uri())
    margins = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
    printed = page.pdf(format="A4", margin=margins)  # type: ignore[arg-type]
    n_pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert fewest <= n_pages <= most
    page.close()
