"""Flattens the result of an annotation to one list, because other programs write nested lists, and JSON as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

#: Maximum depth to which nested lists and JSON texts are expanded.
_DEEPEST = 4
#: Maximum number of characters of a JSON text in a result that is parsed.
_MAX_TEXT = 16 * 2**20


def flattened(result: Any, depth: int = _DEEPEST) -> Iterator[Any]:
    """Yield every entry of a result in order; an entry that cannot be expanded is yielded unchanged."""
    if isinstance(result, str) and depth and len(result) <= _MAX_TEXT and result.lstrip()[:1] in ("[", "{"):
        try:
            result = json.loads(result)
        except (ValueError, RecursionError):
            yield result
            return
    if isinstance(result, list | tuple) and depth:
        for entry in result:
            yield from flattened(entry, depth - 1)
    elif result is not None:
        yield result
