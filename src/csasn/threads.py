"""Linear algebra on one thread, where more threads cost more than they bring."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

P = ParamSpec("P")
R = TypeVar("R")


def one_thread(compute: Callable[P, R]) -> Callable[P, R]:
    """The function with NumPy, SciPy and scikit-learn on one thread inside it, whatever the machine has.

    Their threads wait for each other by spinning. With small matrices that brings little, and where another program is
    at work on the same cores it multiplies the time; figures also stay the same on any number of cores.
    """

    @wraps(compute)
    def within(*args: P.args, **named: P.kwargs) -> R:
        with threadpool_limits(limits=1):
            return compute(*args, **named)

    return within
