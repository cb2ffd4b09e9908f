"""The picture of a run: which command makes which file from which, as csasn.stages has it.

Command: `python -m docs.pictures.run` from the project's root. It writes docs/pictures/run.svg.
"""

from pathlib import Path

from csasn.stages import STAGES
from docs.pictures.svg import MARGIN, Picture

OUT = Path(__file__).with_name("run.svg")
WIDTH, GAP, RISE, HEIGHT, LEFT = 800, 10, 46, 58, 92
COHORT = ("csasn ingest, or csasn simulate", "manifest.parquet, ledger.csv, certificate.json")
FILES = {  # what each stage writes, the most important first
    "split": "split.csv, config.toml",
    "fit": "checkpoints/, history.csv",
    "predict": "predictions.parquet",
    "audit": "altered.parquet",
    "explain": "explanations/",
    "abstention": "abstention/",
    "calibrate": "calibration.json",
    "evaluate": "metrics.json (the evidence)",
    "report": "report.html, figures/, tables/",
}


def depths() -> dict[str, int]:
    """How many stages lie before each, along the longest way."""
    found: dict[str, int] = {}
    for name, stage in STAGES.items():  # a stage stands after all that it reads
        found[name] = 1 + max((found[before] for before in stage.reads), default=-1)
    return found


def rows() -> list[list[str]]:
    """The stages, from the first to the last; those of one row do not wait for each other."""
    found = depths()
    return [[name for name in STAGES if found[name] == depth] for depth in range(max(found.values()) + 1)]


def draw() -> str:
    """The picture as SVG."""
    missing = sorted(set(STAGES) - set(FILES))
    if missing:
        raise ValueError(f"Every stage has its files in docs/pictures/run.py; missing: {', '.join(missing)}.")
    picture = Picture("A run: which command makes which file", WIDTH)
    inner = WIDTH - LEFT - MARGIN
    middle, y = LEFT + inner / 2, float(MARGIN)
    _box(picture, middle, y, inner, "your files", "pictures and a table, a PACS export (DICOM), or a public data set")
    _box(picture, middle, y + HEIGHT + RISE, inner, *COHORT)
    picture.arrow((middle, y + HEIGHT), (middle, y + HEIGHT + RISE))
    y += HEIGHT + RISE
    first, before = y + HEIGHT + RISE, 1
    for names in rows():
        y += HEIGHT + RISE
        for centre in _centres(max(before, len(names))):  # a row of several stands between rows of one
            picture.arrow((centre, y - RISE), (centre, y))
        for name, centre in zip(names, _centres(len(names)), strict=True):
            kind = "outline" if STAGES[name].on_request else "box"
            _box(picture, centre, y, _width(len(names)), f"csasn {name}", FILES[name], kind=kind)
        before = len(names)
    picture.box(MARGIN, first - 8, 62, y + HEIGHT - first + 16, kind="marked")
    for number, line in enumerate(("csasn", "run", "does", "all", "these")):
        at = (first + y + HEIGHT) / 2 - 40 + 20 * number
        picture.text(MARGIN + 31, at, line, bold=number < 2, anchor="middle", room=58)
    legend = ["In bold: the command. Below it: the files that it writes."]
    if any(stage.on_request for stage in STAGES.values()):
        legend.append("Dashed box: on request, by its own command. csasn run leaves it out.")
    for number, line in enumerate(legend):
        picture.text(LEFT, y + HEIGHT + 34 + 21 * number, line, quiet=True)
    return picture.svg()


def _width(n: int) -> float:
    """Width of each of n boxes side by side."""
    return (WIDTH - LEFT - MARGIN - GAP * (n - 1)) / n


def _centres(n: int) -> list[float]:
    """The x of the middle of each of n boxes side by side."""
    return [LEFT + place * (_width(n) + GAP) + _width(n) / 2 for place in range(n)]


def _box(picture: Picture, centre: float, y: float, width: float, title: str, files: str, *, kind: str = "box") -> None:
    """A box of one line in bold and one of file names."""
    picture.box(centre - width / 2, y, width, HEIGHT, kind=kind)
    picture.text(centre, y + 25, title, bold=True, anchor="middle", room=width - 8)
    picture.text(centre, y + 46, files, quiet=True, anchor="middle", size=14, room=width - 8)


if __name__ == "__main__":
    OUT.write_text(draw(), encoding="utf-8")
