"""Prediction sets: what they promise, what so few patients allow, and where they break."""

from csasn.calibration.prediction_sets import Scarcity
from csasn.evidence.coverage import Coverage
from csasn.report.blocks import Block, Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.coverage import coverage
from csasn.report.formatting import share


def sets(evaluated: EvaluatedRun) -> Section:
    """The scarcity certificate by class, coverage and set size by class and site."""
    found = evaluated.metrics.prediction_sets
    wanted = 1 - found.alpha
    promises, covered = found.certificate, found.coverage
    broken = [f"{each.target} at {each.site}" for each in covered if each.breaks and each.site != "all"]
    text = (
        f"A prediction set holds every class that cannot be ruled out; for each class apart it is to miss at most "
        f"{100 * found.alpha:.0f} % (split conformal by class, calibrated on each fold's tuning partition after its "
        "temperature). The promise holds for patients like the tuning ones: at a site that the model has not seen it "
        "may break, and the table says where it does."
    )
    blocks: list[Block] = [
        Words(text=text),
        evaluated.drawing(
            "coverage",
            "Share of each class whose set holds it, with Wilson intervals; bars: where it lies in 99 of 100 cohorts "
            f"of patients like the tuning ones; dashed: the wanted {100 * wanted:.0f} %.",
            lambda: coverage(covered, wanted=wanted),
        ),
        Table(
            name="set-coverage",
            caption="Coverage and mean set size by class and site",
            head=("Site", "Class", "Patients", "Covered", "Expected", "Mean set size", "Reading"),
            rows=[_covered(each) for each in covered],
            wide=frozenset({6}),
            folded=True,
        ),
        Table(
            name="set-scarcity",
            caption="What the calibration patients of each class and fold can promise (99 % band of the realised "
            "coverage)",
            head=("Fold", "Class", "Tuning patients", "Needed", "Promised coverage", "What was done"),
            rows=[_promised(each) for each in promises],
            wide=frozenset({5}),
            folded=True,
        ),
    ]
    if broken:
        blocks.insert(1, Words(text=f"Coverage breaks for {', '.join(broken)}."))
    return Section(
        id="sets",
        title="Which classes can be ruled out: prediction sets",
        short="Prediction sets",
        blocks=tuple(blocks),
    )


def _covered(row: Coverage) -> list[str]:
    expected, size = "–", "–"
    if row.expected_low is not None:
        expected = f"{row.expected_low:.2f}–{row.expected_high:.2f}"
    if row.size is not None:
        size = f"{row.size:.2f}"
    verdict = row.note or ("breaks" if row.breaks else "as promised")
    site = "all sites" if row.site == "all" else row.site
    return [site, row.target, f"{row.n:,}", share(row), expected, size, verdict]


def _promised(row: Scarcity) -> list[str]:
    band = f"{row.promised:.2f} ({row.band_low:.2f}–{row.band_high:.2f})"
    return [str(row.fold), row.target, f"{row.n:,}", f"{row.needed:,}", band, row.decision]
