"""Who was in the cohort, how they came in, and whether it holds together."""

from csasn.report.blocks import Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun, rows_of
from csasn.report.figures.flow import flow

COUNTED = ("n_patients", "n_nodules", "n_images")


def cohort(evaluated: EvaluatedRun) -> Section:
    """Flow of inclusion, and counts by site and class."""
    certificate = evaluated.certificate
    rows = [[row["site"], row["class"], *(row[each] for each in COUNTED)] for row in rows_of(certificate.get("counts"))]
    found = certificate.get("notes")
    notes = tuple(str(each) for each in found) if isinstance(found, list) else ()
    drawing = evaluated.drawing(
        "flow",
        "From what was given to what was read by a model: items of the source, what was set aside and why, and the "
        "patients of each partition over the folds.",
        lambda: flow(evaluated.manifest, evaluated.split, evaluated.run.ledger()),
    )
    table = Table(
        name="cohort",
        caption="Patients, nodules and images by site and class",
        head=("Site", "Class", "Patients", "Nodules", "Images"),
        rows=rows,
    )
    return Section(
        id="cohort",
        title="Who was in the cohort",
        short="Cohort",
        blocks=(drawing, table, *(Words(text=note, quiet=True) for note in notes)),
    )


def checks(evaluated: EvaluatedRun) -> Section:
    """Every check of the certificate, of the cohort and of the split."""
    certificate = evaluated.certificate
    found = rows_of(certificate.get("checks")) + rows_of(certificate.get("split_checks"))
    rows = [[each["name"], "passed" if each["passed"] else "FAILED", _shown(each["found"])] for each in found]
    table = Table(
        name="checks",
        caption="Each check of the certificate, whether it passed, and what it found",
        head=("Check", "Result", "Found"),
        rows=rows,
        wide=frozenset({0, 2}),
    )
    return Section(
        id="checks", title="Integrity of the cohort and of the split", short="Integrity checks", blocks=(table,)
    )


def _shown(found: object) -> str:
    return "; ".join(map(str, found)) or "none" if isinstance(found, list) else str(found or "none")
