"""Formatting of counts and durations in sentences, with the noun and verb in singular or plural."""

from __future__ import annotations

from datetime import timedelta


def by_number(count: int, singular: str, plural: str) -> str:
    """Return the singular or plural word for a count: ``by_number(1, "is", "are")`` is "is"."""
    return singular if count == 1 else plural


def counted(count: int, singular: str) -> str:
    """Return a count with its noun: "1 image", "2 images", "1,000 images".

    Args:
        count: The number; formatted with thousands separators.
        singular: The noun for one; an "s" forms its plural.
    """
    return f"{count:,} {by_number(count, singular, f'{singular}s')}"


def file_size(number: int) -> str:
    """Return a number of bytes in the largest unit that it reaches, such as “1.2 GB”."""
    size = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in ("bytes", "kB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def span(duration: timedelta) -> str:
    """Return a duration in seconds, minutes or hours, whichever fits: "12 s", "7 min", "2.5 h"."""
    seconds = int(duration.total_seconds())
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def sentence_case(text: str) -> str:
    """Return the text with its first letter as a capital: "rendering failed" becomes "Rendering failed"."""
    return text[:1].upper() + text[1:]
