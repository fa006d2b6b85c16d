"""Reads text files of other programs, also those with a byte order mark, in UTF-16, or in an old Windows code page.

Size and nesting are limited. Values that are not valid in JSON (NaN, unpaired surrogates) are returned to the caller.
"""

from __future__ import annotations

import codecs
import json
import math
from pathlib import Path
from typing import Any

from datagen.errors import InputProblem

#: Largest text file, bytes. This is a task list with about a hundred thousand boxes. Its Python objects need about
#: twenty times as much memory.
MAX_TEXT_BYTES = 64 * 2**20
#: Largest number of digits of an integer in JSON. Python refuses the whole file if an integer has more than 4,300
#: digits.
_MAX_DIGITS = 300

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_text(path: Path, called: str, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return the text of a file. ``called`` is the file's name in messages.

    Raises:
        InputProblem: the file cannot be read, is too large, or is not text.
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
    """Return the text of a file's bytes, decoded by the byte order mark.

    Without a mark, the bytes are decoded as UTF-16, UTF-8 or Windows-1252, whichever fits.

    Raises:
        InputProblem: the text cannot be decoded.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decode_as(data, encoding, called)
    if data[:2].count(0) == 1:  # UTF-16 of text that begins with an ASCII character
        return _decode_as(data, "utf-16-be" if data[0] == 0 else "utf-16-le", called)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_as(data, "cp1252", called)


def parse_json(text: str, called: str) -> Any:
    """Return the value of a JSON text; NaN and infinities become floats.

    Raises:
        InputProblem: the text is not JSON, or nested too deeply.
    """
    try:
        return json.loads(text, parse_int=_parse_integer)
    except RecursionError:
        raise InputProblem(f"{called} is not a JSON file that can be read: it is nested too deeply") from None
    except ValueError as fault:
        raise InputProblem(f"{called} is not a JSON file that can be read: {fault}") from None


def _parse_integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def _decode_as(data: bytes, encoding: str, called: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as fault:
        raise InputProblem(
            f"{called} is not a JSON file that can be read: it is no {encoding} text ({fault.reason}); save it as UTF-8"
        ) from None
