"""Reports of how far a long command is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

#: Gets the number of items that are done, and the number of all.
Progress = Callable[[int, int], None]

T = TypeVar("T")


def no_progress(_done: int, _total: int) -> None:
    """Report nothing."""


def observed(items: Iterable[T], total: int, progress: Progress) -> Iterator[T]:
    """Yield the items, and report after each the number of those that the consumer is done with."""
    progress(0, total)
    for done, item in enumerate(items, 1):
        yield item
        progress(done, total)
