"""Reading of JSON files that a download may have broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def json_object(file: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if the file is unreadable, truncated, or contains no object."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) else None
