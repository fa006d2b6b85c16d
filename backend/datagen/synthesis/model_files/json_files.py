"""Reading of JSON files that a download may have broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: Largest file that is read, bytes. The longest is the index of a model with many thousand tensors, of a few million.
_MAX_BYTES = 32 * 2**20


def json_object(file: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file.

    None if the file is unreadable, truncated, too large or nested too deeply, or contains no object.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            return None
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
