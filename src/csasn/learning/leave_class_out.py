"""CSASN trained without one class, so that its patients are of a kind that the model has never met."""

from dataclasses import replace

import numpy as np

from csasn.learning.rows import FoldRows, LabelledRows
from csasn.learning.session import Session
from csasn.runs import CSASN
from csasn.schema import ClassList


def held_out_model(name: str) -> str:
    """What the model without a class is called in the run folder."""
    return f"{CSASN}-without-{name}"


def without_class(session: Session, name: str) -> Session:
    """The session whose class list lacks `name`; its images keep their rows, their class is unknown."""
    cohort = session.cohort
    classes, dropped = cohort.classes, cohort.classes.names.index(name)
    fewer = ClassList(
        names=tuple(each for each in classes.names if each != name),
        n_non_malignant=classes.n_non_malignant - (dropped < classes.n_non_malignant),
    )
    index = np.where(cohort.class_index == dropped, -1, cohort.class_index - (cohort.class_index > dropped))
    return replace(session, cohort=replace(cohort, classes=fewer, class_index=index))


def rows_without(cohort: LabelledRows, rows: FoldRows, name: str) -> FoldRows:
    """Train and tuning rows of a fold that are not of the class; `cohort` is the one with every class."""
    dropped = cohort.classes.names.index(name)
    kept = {part: each[cohort.class_index[each] != dropped] for part, each in (("t", rows.train), ("u", rows.tuning))}
    return FoldRows(fold=rows.fold, train=kept["t"], tuning=kept["u"])
