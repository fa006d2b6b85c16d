"""Ticks that are kept while a person turns the pages of a list.

The form that turns the page sends the ticks of the page that was shown, and those of all other pages as one packed
field, so that no session and no address holds them, and no script is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from datagen.errors import Refused

#: Names of the fields: the packed numbers of other pages, and the button that removes every tick.
CHOSEN, CLEAR = "chosen", "clear"
#: “3.7-9” is 3, 7, 8 and 9; no character of it is encoded in a form.
_PART = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def packed(numbers: Iterable[int]) -> str:
    """Return numbers as text, in which successive ones are a range."""
    ordered = sorted(set(numbers))
    if not ordered:
        return ""
    breaks = [second for first, second in pairwise(ordered) if second != first + 1]
    starts = [ordered[0], *breaks]
    ends = [*(first for first, second in pairwise(ordered) if second != first + 1), ordered[-1]]
    return ".".join(f"{start}-{end}" if end > start else f"{start}" for start, end in zip(starts, ends, strict=True))


def unpacked(text: str, most: int) -> set[int]:
    """Return the numbers of a packed field.

    Raises:
        Refused: it is no such field, or has more than ``most`` numbers.
    """
    numbers: set[int] = set()
    count = 0  # of repeated ones, too: a forged field may name a long range in each of its parts
    for part in filter(None, text.split(".")):
        numerals = _PART.fullmatch(part)
        first, last = (int(numerals[1]), int(numerals[2] or numerals[1])) if numerals is not None else (1, 0)
        if last < first:
            raise Refused("What was ticked on other pages cannot be read. Tick it again.")
        count += last - first + 1
        if count > most:
            raise Refused(too_many(most))
        numbers |= {*range(first, last + 1)}
    return numbers


def too_many(most: int) -> str:
    """Return the sentence about more ticks than a list keeps."""
    return f"At most {most:,} can be ticked at a time, on all pages together. Remove some, or use them in parts."
