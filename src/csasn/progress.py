"""How a long job tells its progress: what is done, how much, of how much."""

from typing import Protocol


class Report(Protocol):
    """Is told what is going on, how much of it is done, of how much, and how well."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """Take note of it."""
