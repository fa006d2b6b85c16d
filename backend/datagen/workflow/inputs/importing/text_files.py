"""Text files as other programs write them: with a byte order mark, in UTF-16, in an old Windows code page.

Bounded in size and nesting; what JSON cannot carry (NaN, half a character) is read, and left to whoever uses it.
"""

from __future__ import annotations

import codecs
import json
import math
from pathlib import Path
from typing import Any

from datagen.errors import InputProblem

#: Largest task list, bytes: about a hundred thousand boxes. Python's objects take some twenty times that.
MOST_TEXT_BYTES = 64 * 2**20
#: Digits of a whole number; Python refuses to read more than 4,300, and with it the whole file.
_MOST_DIGITS = 300

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, called: str, *, max_bytes: int = MOST_TEXT_BYTES) -> str:
    """The text of a file.

    Raises:
        InputProblem: it cannot be read, is too large, or is no text.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise InputProblem(f"{called} has {size:,} bytes, at most {max_bytes:,} are read; split it")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)[:max_bytes]
    except OSError as fault:
        raise InputProblem(f"{called} cannot be read: {fault.strerror}") from None
    return decoded(data, called)


def decoded(data: bytes, called: str) -> str:
    """Text by its byte order mark, else UTF-8, else UTF-16 without a mark, else Windows' Western code page.

    Raises:
        InputProblem: it is none of these.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data, encoding, called)
    if data[:2].count(0) == 1:  # UTF-16 of text that begins with an ASCII character
        return _decoded(data, "utf-16-be" if data[0] == 0 else "utf-16-le", called)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _decoded(data, "cp1252", called)


def parse_json(text: str, called: str) -> Any:
    """The value of a JSON text. NaN and infinities become such numbers.

    Raises:
        InputProblem: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise InputProblem(f"{called} is not a JSON file that can be read: it is nested too deeply") from None
    except ValueError as fault:
        raise InputProblem(f"{called} is not a JSON file that can be read: {fault}") from None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


def _decoded(data: bytes, encoding: str, called: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as fault:
        raise InputProblem(
            f"{called} is not a JSON file that can be read: it is no {encoding} text ({fault.reason}); save it as UTF-8"
        ) from None
