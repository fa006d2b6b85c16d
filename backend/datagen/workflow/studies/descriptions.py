"""Rows of specs and runs as JSON values, for exports and for the report of a reproduction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Session

from datagen.store.tables.batches import BatchRow, SpecRow


def describe_run(batch: BatchRow) -> dict[str, Any]:
    """Return a run, or a preview round, with its spec and its approval."""
    return {
        "number": batch.number,
        "first_index": batch.first,
        "name": batch.name,
        "images_asked_for": batch.count,
        "state": str(batch.state),
        "warnings": batch.warnings,
        "spec_version": batch.spec.version,
        "spec_digest": batch.spec.digest,
        "approved_by": batch.requested_by,
        "approved_at": batch.requested_at.isoformat(),
        "promise": batch.promise,
        "rejections": batch.rejections,
        "note": batch.note,
    }


def describe_specs(session: Session, specs: Iterable[SpecRow]) -> list[dict[str, Any]]:
    """Return specs and all their ancestors, each once, each before its parent."""
    described: dict[int, dict[str, Any]] = {}
    for spec in specs:
        row: SpecRow | None = spec
        while row is not None and row.id not in described:
            parent = session.get_one(SpecRow, row.parent_id) if row.parent_id is not None else None
            described[row.id] = {
                "digest": row.digest,
                "version": row.version,
                "parent": parent.digest if parent is not None else None,
                "notes": row.notes,
                "created_by": row.created_by,
                "created_at": row.created_at.isoformat(),
                "decided_by": row.decided_by,
                "decided_at": row.decided_at.isoformat() if row.decided_at is not None else None,
                "spec": row.body,
            }
            row = parent
    return list(described.values())
