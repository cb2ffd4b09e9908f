"""Where the time of training steps goes: seconds by phase, measured and never estimated."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PHASES = ("decode", "augment", "forward", "backward", "optimiser", "average")


class Phases:
    """Adds up the seconds of named phases; `with phases("forward"): ...`.

    A GPU computes behind the program's back, so with `exact` each phase waits for it; a CPU needs no waiting.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._exact = exact and torch.cuda.is_available()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block as part of a phase."""
        started = time.perf_counter()
        yield
        if self._exact:
            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - started

    def clear(self) -> None:
        """Start again from zero."""
        self.seconds = dict.fromkeys(PHASES, 0.0)

    @property
    def total(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())

    @property
    def waiting(self) -> float:
        """Share of the time in which training waited for what it reads."""
        return (self.seconds["decode"] + self.seconds["augment"]) / self.total
