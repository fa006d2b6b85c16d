"""Sanitization of untrusted text, numbers and JSON: what a database, JSON or UTF-8 cannot represent is replaced.

JSON can hold lone surrogates, NUL, NaN, infinities and any depth of nesting. File names and command lines can hold
bytes that are not text. All of these are replaced on input, so no other module has to handle them.
"""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

#: Maximum nesting depth of containers; deeper values become null. Label Studio's own JSON is less than 12 levels deep.
DEEPEST = 64
#: Largest number of bits of an accepted integer. A longer integer does not fit into a float and becomes null.
_MAX_BITS = 1023


def plain(text: str) -> str:
    """Return text that every database can store: lone surrogates and NUL become “?”."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "?")


def whole_number(text: str, most: int) -> int | None:
    """Return a number that is written with digits alone, 0 to ``most``; None for any other text."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if number <= most else None


def is_showable(letter: str) -> bool:
    """Return whether a character may appear in a displayed name: spaces of any width may, control characters not."""
    return letter.isprintable() or unicodedata.category(letter) == "Zs"


def plain_json(value: Any, deepest: int = DEEPEST) -> Any:
    """Return a JSON value with plain strings and keys; NaN, infinities, huge integers and deep values become None."""
    if isinstance(value, float):  # first, because most values of a large body are numbers
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [plain_json(item, deepest - 1) for item in value] if deepest else None
    if isinstance(value, dict):
        return {plain(name): plain_json(item, deepest - 1) for name, item in value.items()} if deepest else None
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_BITS else None
    return None


def read_json(data: bytes | str) -> Any:
    """Parse untrusted JSON and make it plain. Accepts UTF-8, UTF-16 and UTF-32, with or without a byte order mark.

    Raises:
        ValueError: the data is not JSON, or is nested too deeply to be parsed.
    """
    try:
        return plain_json(json.loads(data))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
