"""One thread for linear algebra: inside the function alone, and where the project says so."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from csasn.evidence.ablation import ablation_content
from csasn.evidence.compare_runs import compare_runs
from csasn.learning.baselines import fit_logistic_regression
from csasn.threads import one_thread
from tests.support.evaluation import evaluate_run


def numbers_of_threads() -> set[int]:
    return {int(pool["num_threads"]) for pool in threadpool_info()}


def test_every_pool_has_one_thread_inside_and_its_own_after_it() -> None:
    with threadpool_limits(limits=2):
        assert numbers_of_threads() == {2}
        assert one_thread(numbers_of_threads)() == {1}
        assert numbers_of_threads() == {2}


def test_threads_come_back_after_an_error() -> None:
    @one_thread
    def singular() -> object:
        return np.linalg.inv(np.zeros((2, 2)))

    with threadpool_limits(limits=2):
        with pytest.raises(np.linalg.LinAlgError):
            singular()
        assert numbers_of_threads() == {2}


class Looking:
    """Whatever is asked of it first, it looks at the threads and ends the computation."""

    def __init__(self) -> None:
        self.seen: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        self.seen |= numbers_of_threads()
        raise LookupError(name)

    def __iter__(self) -> Any:
        return self.arms


@pytest.mark.parametrize(
    "compute",
    [
        evaluate_run,
        lambda each: compare_runs(each, each, each),
        lambda each: ablation_content(each, full="full"),
        lambda each: fit_logistic_regression(each, each, each, n_views=1),
    ],
    ids=["evaluate", "compare", "ablate", "logistic-regression"],
)
def test_what_is_slow_beside_another_program_takes_one_thread(compute: Callable[[Any], object]) -> None:
    looking = Looking()
    with threadpool_limits(limits=2), pytest.raises(LookupError):
        compute(looking)
    assert looking.seen == {1}
