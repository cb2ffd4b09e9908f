"""How a long job tells what it does: progress in numbers, and a log in words."""

from typing import Protocol


class Progress(Protocol):
    """Is told what is going on, how much of it is done, of how much, and how well."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Take note of it."""


class Log(Protocol):
    """Is told in words what is passed over, done again or went wrong."""

    def __call__(self, words: str, /) -> None:
        """Take note of it."""


class CountProgress(Protocol):
    """Is told how many items of how many are done; what is done with them is said elsewhere."""

    def __call__(self, done: int, total: int, /) -> object:
        """Take note of it."""
