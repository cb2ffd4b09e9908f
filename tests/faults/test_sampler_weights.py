"""Fault 82: a training row that would never be drawn stops the epoch, and is named."""

import numpy as np
import pytest

from csasn.errors import BadInputError
from csasn.learning.sampling import drawn


@pytest.mark.parametrize("wrong", [0.0, -0.5, float("nan"), float("inf")])
def test_fault_82_a_share_of_nothing_is_refused(wrong: float) -> None:
    rows, share = np.array([4, 9, 11, 30]), np.array([1.5, wrong, 1.5, wrong])
    with pytest.raises(BadInputError, match=rf"row 9: {wrong:g}\n  - row 30: {wrong:g}\n"):
        drawn(rows, share, seed=0, epoch=0)
