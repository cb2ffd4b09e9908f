"""The built site: it builds without a warning, loads nothing from elsewhere, and every page is in the navigation."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LOADED = re.compile(r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\ssrc=\"([^\"]*)\"|<link\b([^>]*)>")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def browser(site: Path) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def test_every_source_page_is_built(site: Path) -> None:
    sources = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}
    assert {str(path.relative_to(site).with_suffix("")) for path in pages(site)} == sources
    assert not list(site.rglob("*.py"))


def test_every_page_is_reached_from_the_first_by_the_navigation(site: Path) -> None:
    reached, waiting = set[Path](), [site / "index.html"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for navigation in re.findall(r"<nav\b.*?</nav>", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            links = re.findall(r'href="([^"#:]+\.html)', navigation)
            waiting += [(page.parent / unquote(link)).resolve() for link in links]
    assert reached == set(pages(site))


def test_no_page_names_a_resource_from_elsewhere(site: Path) -> None:
    outside = []
    for path in site.rglob("*.html"):
        for source, link in LOADED.findall(path.read_text(encoding="utf-8")):
            target = source or "".join(re.findall(r'href="([^"]*)"', link))
            outside += [f"{path.name}: {target}"] if re.match(r"(?:\w+:)?//", target) else []
    for path in site.rglob("*.css"):
        outside += [f"{path.name}: {url}" for url in re.findall(r"url\([\"']?((?:https?:)?//[^)]*)", path.read_text())]
    assert outside == []


def test_the_search_knows_every_page(site: Path) -> None:
    index = (site / "search/search_index.json").read_text(encoding="utf-8")
    assert [
        page.name for page in pages(site) if f'"{page.relative_to(site)}' not in index and page.stem != "index"
    ] == []


def test_the_python_interface_lists_the_network_and_the_statistics(site: Path) -> None:
    page = (site / "reference/api.html").read_text(encoding="utf-8")
    names = ["csasn.network.csasn.Csasn", "csasn.learning.objective.losses.MultitaskLoss"]
    names += ["csasn.evidence.statistics.delong.delong", "csasn.evidence.statistics.bootstrap.bootstrap"]
    assert [name for name in names if f'id="{name}"' not in page] == []


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
@pytest.mark.parametrize("name", ["index", "tutorial/first-run", "reference/api", "reference/command-line"])
def test_a_browser_asks_for_nothing_from_elsewhere(site: Path, browser: Browser, name: str) -> None:
    page, asked, said = browser.new_page(viewport={"width": 390, "height": 900}), list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((site / f"{name}.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert asked
    assert [url for url in asked if not url.startswith(("file://", "data:", "blob:"))] == []
    assert said == []
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)") == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.close()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
def test_the_search_finds_pages_without_a_server(site: Path, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto((site / "index.html").as_uri())
    page.locator(".md-search__input").first.fill("certificate")
    found = page.locator(".md-search-result__link").first
    found.wait_for(state="attached", timeout=20_000)
    assert (found.get_attribute("href") or "").startswith("file://")
    page.close()
