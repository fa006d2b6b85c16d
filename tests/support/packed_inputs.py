"""Inputs as people upload them: pictures in a zip, beside what is drawn on them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

#: Name, bytes and drawn regions of a picture.
Input = tuple[str, bytes, list[dict[str, Any]]]


def packed(inputs: Sequence[Input]) -> bytes:
    """A zip of pictures with a JSON export of Label Studio that has what is drawn on them."""
    buffer = io.BytesIO()
    tasks = [{"data": {"image": name}, "annotations": [{"result": regions}]} for name, _, regions in inputs]
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tasks.json", json.dumps(tasks))
        for name, data, _ in inputs:
            archive.writestr(name, data)
    return buffer.getvalue()
