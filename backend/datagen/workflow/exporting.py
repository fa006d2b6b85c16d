"""Exporting a study's generated images: which samples, and everything that is to be known of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from datagen.domain.sample import Sample
from datagen.errors import NotReady
from datagen.export.dataset import Summary, write_zip
from datagen.store.database import Database
from datagen.store.rows import BatchKind, BatchRow, SampleRow
from datagen.workflow.retrying import patiently
from datagen.workflow.samples import sample_of
from datagen.workflow.workshop import Workshop, find_study

#: Rows read at a time, so that memory stays bounded for a million samples.
ROWS_AT_A_TIME = 500


def export_study(
    workshop: Workshop, name: str, path: Path, *, run_number: int | None = None, formats: tuple[str, ...] = ("coco",)
) -> Summary:
    """Write the samples of a study's runs (or of one) to ``path``.

    Raises:
        NotReady: nothing was generated yet.
        StoreError: an object is missing or damaged, or a label disagrees with its mask; no file is left behind.
    """
    with workshop.database.read() as session:
        study = find_study(session, name)
        wanted = [BatchRow.study_id == study.id, BatchRow.kind == BatchKind.RUN]
        if run_number is not None:
            wanted.append(BatchRow.number == run_number)
        runs = session.scalars(select(BatchRow).where(*wanted).order_by(BatchRow.number)).all()
        about = {
            "study": study.name,
            "runs": [
                {
                    "number": run.number,
                    "first_index": run.first,
                    "name": run.name,
                    "images_asked_for": run.count,
                    "state": str(run.state),
                    "warnings": run.warnings,
                    "spec_version": run.spec.version,
                    "spec_digest": run.spec.digest,
                    "approved_by": run.requested_by,
                    "approved_at": run.requested_at.isoformat(),
                    "note": run.note,
                }
                for run in runs
            ],
        }
    if not runs:
        raise NotReady(f"{name!r} has no generation run yet; approve a version first")
    samples = _samples(workshop.database, [run.id for run in runs])
    return write_zip(
        path, samples, labels=study.labels, read=patiently(workshop.images.get), about=about, formats=formats
    )


def _samples(database: Database, run_ids: list[int]) -> Iterator[Sample]:
    """Every sample of these runs in the order of run and index; read in pages, each in a transaction of its own."""
    for run_id in run_ids:
        last = -1
        while True:
            with database.read() as session:
                rows = session.scalars(
                    select(SampleRow)
                    .where(SampleRow.batch_id == run_id, SampleRow.index > last)
                    .order_by(SampleRow.index)
                    .limit(ROWS_AT_A_TIME)
                ).all()
            if not rows:
                break
            yield from map(sample_of, rows)
            last = rows[-1].index
