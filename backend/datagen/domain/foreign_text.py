"""Text and JSON from outside, made plain: what a database, JSON or UTF-8 cannot carry is replaced.

JSON can hold half a surrogate pair, NUL, numbers that are none, and any depth of nesting; file names and command lines
can hold bytes that are no text. All of it is replaced where it enters, so that nobody behind the entry meets it.
"""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

#: Containers inside containers; what lies deeper is replaced by null. Label Studio's own JSON is below 12 deep.
DEEPEST = 64
#: Bits of the largest whole number that a float can hold; a larger one is replaced by null.
_MOST_BITS = 1023


def plain(text: str) -> str:
    """Text that every database can hold: half a character (a lone surrogate) and NUL become “?”."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "?")


def is_showable(letter: str) -> bool:
    """Whether a character is harmless in a name that is shown: blanks of any width are, controls are not."""
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def plain_json(value: Any, deepest: int = DEEPEST) -> Any:
    """A JSON value with its texts and names plain; NaN, infinities, huge numbers and what lies too deep become None."""
    if isinstance(value, float):  # most values of a large body are numbers: asked first
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_json(one, deepest - 1) for one in value] if deepest else None
    if isinstance(value, dict):
        return {plain(name): plain_json(one, deepest - 1) for name, one in value.items()} if deepest else None
    if isinstance(value, int):
        return value if value.bit_length() <= _MOST_BITS else None
    return None


def read_json(data: bytes | str) -> Any:
    """Parse JSON from outside and make it plain; UTF-8, UTF-16 and UTF-32, with or without a byte order mark.

    Raises:
        ValueError: it is no JSON, or nested too deeply to be read at all.
    """
    try:
        return plain_json(json.loads(data))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
