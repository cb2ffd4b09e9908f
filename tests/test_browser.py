"""The report in a real browser: nothing on the console, nothing beyond the edge, pages that print."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from csasn.evidence.evaluate import evaluate_run
from csasn.report.page import report_run
from synthetic_run import make_run

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
    evaluate_run(run)
    return report_run(run)


@pytest.mark.parametrize("width_px", [1280, 390])
def test_nothing_on_the_console_and_nothing_beyond_the_edge(browser: Browser, report: Path, width_px: int) -> None:
    page = browser.new_page(viewport={"width": width_px, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(report.as_uri())
    assert said == [report.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width_px
    inside = "[...document.querySelectorAll('svg, img')].every(e => e.getBoundingClientRect().right <= innerWidth)"
    assert page.evaluate(inside)
    assert page.locator("figure svg").count() > 5
    page.close()


def test_every_name_in_the_list_of_sections_leads_to_one(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    for link in page.locator("nav a").all():
        target = link.get_attribute("href")
        assert target is not None
        assert page.locator(target).count() == 1
        link.click()
        assert page.locator(target).is_visible()
    page.close()


def test_it_prints_to_a_sane_number_of_pages(browser: Browser, report: Path) -> None:
    page = browser.new_page()
    page.goto(report.as_uri())
    margins = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
    printed = page.pdf(format="A4", margin=margins)  # type: ignore[arg-type]
    n_pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 5 <= n_pages <= 30
    page.close()
