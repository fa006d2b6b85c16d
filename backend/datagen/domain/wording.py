"""Counts in sentences: the noun and the verb in the number that the count asks for."""

from __future__ import annotations


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
