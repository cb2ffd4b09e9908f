"""When a stage ends, and which epoch's weights it keeps, against a plain loop."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from csasn.learning.early_stopping import BEFORE, EarlyStopping


@given(
    losses=st.lists(st.integers(0, 5).map(float), min_size=1, max_size=12),
    patience=st.integers(1, 4),
    start=st.none() | st.integers(0, 5).map(float),
)
def test_the_kept_epoch_is_the_first_of_the_lowest_loss(
    losses: list[float], patience: int, start: float | None
) -> None:
    learner = nn.Linear(1, 1)
    best = EarlyStopping(weights={}, loss=start, epoch=0 if start is None else BEFORE)
    seen: list[float] = []
    while not best.ended(len(seen), n_epochs=len(losses), patience_epochs=patience):
        epoch = len(seen)
        with torch.no_grad():
            learner.weight.fill_(float(epoch))
        best.keep_if_best(learner, losses[epoch], epoch)
        seen.append(losses[epoch])
    lowest = min(seen)
    if start is not None and start <= lowest:
        assert (best.epoch, best.loss, best.weights) == (BEFORE, start, {})
    else:
        assert (best.epoch, best.loss) == (seen.index(lowest), lowest)
        assert float(best.weights["weight"]) == best.epoch
    since = len(seen) - 1 - best.epoch
    assert since >= patience or len(seen) == len(losses)
    assert since <= patience
