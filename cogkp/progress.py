"""The interface for reporting progress; how it is shown is decided by the caller."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One task in progress."""

    def advance(self, amount: int = 1, **facts: float | str) -> None:
        """Report units done since the last call, and facts worth a glance (loss=0.12, lr=0.01)."""


class Progress(Protocol):
    """Something that can show progress."""

    def work(self, label: str, total: int | None) -> AbstractContextManager[Step]:
        """Begin a piece of work of ``total`` units; None where nobody knows how many."""


class _SilentStep:
    def advance(self, amount: int = 1, **facts: float | str) -> None:
        pass


class _Silent:
    @contextmanager
    def work(self, label: str, total: int | None) -> Iterator[Step]:
        yield _SilentStep()


SILENT: Progress = _Silent()
"""Shows nothing; the default everywhere in the library."""
