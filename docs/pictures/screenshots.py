"""Screenshots of the tutorial's report, taken in the Chromium of the system's packages.

Command: `python -m docs.pictures.screenshots first-run/run/report.html`, after the tutorial's commands. It writes
docs/pictures/report-*.png. The figures in them are those of the machine that trained.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent
WIDTH, SCALE, COLOURS = 900, 1.5, 48
VIEWS = {  # where each picture begins, and how high it is, px
    "report-top": ("body", 925),
    "report-roc": ("#curves", 750),
}


def take(report: Path) -> None:
    """Write every view of a report as a small PNG."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, device_scale_factor=SCALE)
        page.goto(report.resolve().as_uri())
        for name, (start, height) in VIEWS.items():
            box = page.locator(start).bounding_box()
            if box is None:
                raise ValueError(f"{report} has nothing at {start}.")
            clip = {"x": 0, "y": max(0, box["y"] - 12), "width": WIDTH, "height": height}
            shot = page.screenshot(full_page=True, clip=clip)  # type: ignore[arg-type]
            small = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            small.save(FOLDER / f"{name}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
