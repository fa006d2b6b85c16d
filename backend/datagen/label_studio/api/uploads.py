"""Upload of files into a Label Studio project, in requests within its limits. Creates no tasks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from datagen.label_studio.api.http import Connection

#: Maximum number of files in a request, and maximum number of their bytes. Label Studio answers 500 above 100 files or
#: 250 MB.
_MAX_FILES = 100
_MAX_BYTES = 64 * 2**20


def upload(connection: Connection, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
    """Store ``files`` (name, bytes) in a project; return their ``/data/upload/…`` paths in order.

    Raises:
        LabelStudioError: Label Studio refuses a file, for example a TIFF or an empty file.
    """
    paths: list[str] = []
    for batch in _batches(files):
        names = ", ".join(name for name, _ in batch[:3]) + (f" and {len(batch) - 3} more" if len(batch) > 3 else "")
        subject = f"the upload of {names} into project {project_id}"
        answer = connection.json(
            connection.send(
                "POST",
                f"/api/projects/{project_id}/import",
                subject,
                params={"commit_to_project": "false"},
                files=[(f"file{number:03}", (name, data)) for number, (name, data) in enumerate(batch)],
            )
        )
        ids: list[int] = answer["file_upload_ids"]
        listed = connection.get(
            f"/api/projects/{project_id}/file-uploads", subject, {"ids": json.dumps(ids), "page_size": len(ids)}
        )
        by_id = {int(entry["id"]): "/data/" + str(entry["file"]).lstrip("/") for entry in listed}
        paths += [by_id[upload_id] for upload_id in ids]
    return paths


def _batches(files: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for name, data in files:
        if batch and (len(batch) == _MAX_FILES or size + len(data) > _MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((name, data))
        size += len(data)
    if batch:
        yield batch
