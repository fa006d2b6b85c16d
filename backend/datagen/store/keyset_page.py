"""Pages of lists by key: a page begins after the last row of the page before, so that every page takes equally long.

A query reads one row more than the page has, and ``keyset_page`` says by it whether there is a next page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def keyset_page(rows: Sequence[T], limit: int, key: Callable[[T], int]) -> tuple[Sequence[T], int | None]:
    """Return the rows of a page, and the key of the last one if another page follows.

    Args:
        rows: at most ``limit`` + 1 rows in the order of the list.
        limit: largest number of rows of a page.
        key: returns the key of a row, from which the next page is read.

    Returns:
        The first ``limit`` rows, and the key after which the next page begins; None on the last page.
    """
    shown = rows[:limit]
    return shown, key(shown[-1]) if len(rows) > limit else None
