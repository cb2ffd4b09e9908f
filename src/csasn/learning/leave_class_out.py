"""CSASN trained without one class, so that its patients are of a kind that the model has never met."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from csasn.learning.fit import FoldTraining, fitted
from csasn.learning.monitoring.journal import JOURNAL, Journal
from csasn.learning.monitoring.trackers import track
from csasn.learning.recovery.lock import trainer_lock
from csasn.learning.recovery.sigterm import StopSignal
from csasn.learning.rows import FoldRows, LabelledRows, folds_of
from csasn.learning.session import Session, start_fabric
from csasn.progress import Log, Progress
from csasn.runs import CSASN
from csasn.schema import ClassList, rare_classes


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A model trained on a fold without `name`: the session that lacks the class, and the rows it learned from."""

    name: str
    model: str
    session: Session
    rows: FoldRows


def fit_without_each(session: Session, *, progress: Progress, log: Log) -> Iterator[LeftOut]:
    """Train CSASN without each rare class on every fold, as `fit` trains; each is given when it is there.

    A training that stands is not done again, one that was interrupted goes on. Raises what `fit` raises.
    """
    run, settings = session.run, session.run.configuration.fit
    with trainer_lock(run.folder), StopSignal() as stop:
        journal, fabric = Journal(run.path(JOURNAL), track(run.folder, settings.track)), start_fabric(settings)
        for name in rare_classes(run.manifest()):
            fewer = without_class(session, name)
            for rows in folds_of(run):
                training = FoldTraining(
                    session=fewer,
                    fabric=fabric,
                    stop=stop,
                    model=held_out_model(name),
                    rows=rows_without(session.cohort, rows, name),
                    what=f"without {name}, fold {rows.fold}",
                    progress=progress,
                    log=log,
                    journal=journal,
                )
                fitted(training)
                yield LeftOut(name=name, model=training.model, session=fewer, rows=training.rows)


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
