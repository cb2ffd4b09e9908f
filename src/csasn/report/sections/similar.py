"""The training nodules most like each rare nodule that was read wrongly."""

from csasn.evidence.similar import Neighbour, RareError, Similar
from csasn.report.blocks import Picture, Pictures, Section, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.thumbnail import thumbnail

N_SHOWN = 6  # errors with pictures; similar.json has them all


def similar(evaluated: EvaluatedRun) -> Section | None:
    """A strip an error: the nodule, then its nearest training nodules with their reference standard."""
    found = evaluated.beyond("similar.json", Similar)
    if found is None or not found.rare_classes:
        return None
    errors, rare = found.errors, ", ".join(found.rare_classes)
    if not errors:
        text = f"No test nodule of a rare class ({rare}) was read as another."
    else:
        own = sum(row.similar[0].reference == row.reference for row in errors)
        text = (
            f"Test nodules of a rare class ({rare}) that were read as another: {len(errors)}. Beside each stand the "
            "training nodules that the model's own embedding puts nearest to it, with their reference standard. The "
            f"nearest one is of the nodule's own class for {own} of {len(errors)}."
        )
        if len(errors) > N_SHOWN:
            text += f" The {N_SHOWN} with the least probability for their class are shown; similar.json has them all."
    strips = (
        Pictures(pictures=(_error(evaluated, row), *(_near(evaluated, each) for each in row.similar)))
        for row in errors[:N_SHOWN]
    )
    return Section(
        id="similar",
        title="What the rare nodules that were read wrongly lie near",
        short="Similar patients",
        blocks=(Words(text=text), *strips),
    )


def _error(evaluated: EvaluatedRun, row: RareError) -> Picture:
    lines = (f"{row.reference}, p = {row.p_reference:.3f}", f"read as {row.predicted}")
    return _picture(evaluated, row, title="Read wrongly", lines=lines)


def _near(evaluated: EvaluatedRun, row: Neighbour) -> Picture:
    return _picture(evaluated, row, title=row.reference, lines=(f"training, cosine {row.cosine:.2f}",))


def _picture(evaluated: EvaluatedRun, row: RareError | Neighbour, *, title: str, lines: tuple[str, ...]) -> Picture:
    png, missing = thumbnail(evaluated.run.images_root(), row.image_path, evaluated.sha256_of(row.image_path))
    placed = (*lines, f"site {row.site}", f"patient {row.patient_id}")
    alt = f"Ultrasound image of patient {row.patient_id}"
    return Picture(png=png, missing=missing, title=title, lines=placed, alt=alt)
