"""Counts in sentences: the noun and the verb in the number that the count asks for."""

from __future__ import annotations

from datetime import timedelta


def by_number(count: int, singular: str, plural: str) -> str:
    """The word that goes with a count: ``by_number(1, "is", "are")`` is "is"."""
    return singular if count == 1 else plural


def counted(count: int, singular: str, plural: str = "") -> str:
    """A count with its noun: "1 study", "2 studies", "1,000 images".

    Args:
        count: How many; from a thousand on with separators.
        singular: The noun for one.
        plural: The noun for every other number; by default ``singular`` with an "s".
    """
    return f"{count:,} {by_number(count, singular, plural or f'{singular}s')}"


def span(duration: timedelta) -> str:
    """A duration in the unit that suits it: "12 s", "7 min", "2.5 h"."""
    seconds = int(duration.total_seconds())
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
