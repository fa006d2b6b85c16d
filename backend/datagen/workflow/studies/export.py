"""Export of a study's generated images. This module selects the samples and describes their runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.sample import Sample
from datagen.domain.wording import by_number, counted
from datagen.errors import NotReady
from datagen.export.archive import DEFAULT_OPTIONS, ExportOptions, Summary, write_to
from datagen.export.splitting import Apart, split
from datagen.export.writer import requested_formats
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.backoff import patiently
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import Services, find_study
from datagen.workflow.studies.counting import Progress, no_progress, observed
from datagen.workflow.studies.credentials import SignerFiles, credentials_of
from datagen.workflow.studies.descriptions import describe_run, describe_specs
from datagen.workflow.studies.destinations import destination

#: Number of rows that are read in one transaction. It bounds the memory for a million samples.
ROWS_AT_A_TIME = 500
#: Largest number of runs that an error message lists.
MAX_NAMED = 12


def export_study(
    services: Services,
    name: str,
    place: str | Path,
    *,
    run_number: int | None = None,
    shares: Mapping[str, float] | None = None,
    apart: Apart = Apart.BOTH,
    options: ExportOptions = DEFAULT_OPTIONS,
    overwrite: bool = False,
    progress: Progress = no_progress,
    signer: SignerFiles | None = None,
) -> Summary:
    """Write the samples of all runs of a study, or of one run, to a place; see ``destination``.

    ``shares`` are the shares of the splits, by name; without them there are none. ``overwrite`` says whether an export
    in an object store is replaced; on this machine it is. With a ``signer`` the images get signed manifests.

    Raises:
        InputProblem: a format is unknown, requested twice, or cannot hold the study; or there is no such split.
        NotReady: there is no such run, or no image is generated yet.
        StoreError: an object is missing or damaged, or a label disagrees with its mask; no file is left behind.
    """
    with services.database.read() as session:
        study = find_study(session, name)
        runs = selected_runs(session, study, run_number)
        description = {"study": study.name, "runs": [describe_run(run) for run in runs]}
        specs = [
            {**spec, "study": study.name} for spec in describe_specs(session, dict.fromkeys(run.spec for run in runs))
        ]
        run_ids = [run.id for run in runs]
        total = session.scalar(select(func.count()).where(SampleRow.batch_id.in_(run_ids))) or 0
    samples = samples_of_runs(services.database, run_ids)
    chosen = split(samples_of_runs(services.database, run_ids), shares, apart) if shares else None
    if chosen is not None:
        samples = filter(chosen.has, samples)
    requested_formats(options.formats, study.labels)  # before a place is opened
    credentials = credentials_of(services, specs, signer) if signer is not None else None
    choice = json.dumps([study.name, run_ids, dict(chosen.counts) if chosen is not None else {}, asdict(options)])
    with destination(place, choice, overwrite=overwrite) as sink:
        return write_to(
            sink,
            observed(samples, total, progress),
            labels=study.labels,
            read=patiently(services.images.get),
            about=description,
            specs=specs,
            split=chosen,
            options=options,
            sign=credentials.sign if credentials is not None else None,
        )


def selected_runs(session: Session, study: StudyRow, number: int | None) -> Sequence[BatchRow]:
    """Return all runs of a study, or the one of this number, of which at least one has an image.

    Raises:
        NotReady: there is no such run, or no image is generated yet.
    """
    conditions = [BatchRow.study_id == study.id, BatchRow.kind == BatchKind.RUN]
    if number is not None:
        conditions.append(BatchRow.number == number)
    runs = session.scalars(select(BatchRow).where(*conditions).order_by(BatchRow.number)).all()
    if not runs:
        raise _no_such_run(session, study, number)
    if not session.scalar(select(SampleRow.id).where(SampleRow.batch_id.in_([run.id for run in runs])).limit(1)):
        which = f"run {number} of {study.name!r}" if number is not None else f"the runs of {study.name!r}"
        raise NotReady(f"nothing of {which} is generated yet; see: datagen status {shlex.quote(study.name)}")
    return runs


def unfinished_runs(services: Services, name: str, run_number: int | None = None) -> list[str]:
    """Return a sentence for each incomplete run of a study. An export contains only the images generated so far.

    If ``run_number`` is given, only that run is considered.

    Raises:
        Refused: there is no such study.
    """
    generated_count = select(func.count()).where(SampleRow.batch_id == BatchRow.id).scalar_subquery()
    with services.database.read() as session:
        study = find_study(session, name)
        runs = session.execute(
            select(BatchRow, generated_count)
            .where(BatchRow.study_id == study.id, BatchRow.kind == BatchKind.RUN)
            .order_by(BatchRow.number)
        ).all()
        return [
            f"run {run.number} ({run.name}) is {run.state}: {count:,} of {counted(run.count, 'image')} "
            f"{by_number(count, 'is', 'are')} there"
            for run, count in runs
            if run_number in (None, run.number) and count < run.count
        ]


def _no_such_run(session: Session, study: StudyRow, number: int | None) -> NotReady:
    runs = session.execute(
        select(BatchRow.number, BatchRow.name)
        .where(BatchRow.study_id == study.id, BatchRow.kind == BatchKind.RUN)
        .order_by(BatchRow.number)
    ).all()
    if not runs:
        return NotReady(f"{study.name!r} has no generation run yet; approve a version first")
    known_runs = ", ".join(f"{run.number} ({run.name})" for run in runs[:MAX_NAMED])
    more = f" and {len(runs) - MAX_NAMED} more" if len(runs) > MAX_NAMED else ""
    return NotReady(f"{study.name!r} has no run {number}; there are: {known_runs}{more}")


def samples_of_runs(database: Database, run_ids: list[int]) -> Iterator[Sample]:
    """Yield every sample of these runs, in the order of run and index. Each transaction reads ``ROWS_AT_A_TIME``."""
    for run_id in run_ids:
        last_index = -1
        while True:
            with database.read() as session:
                rows = session.scalars(
                    select(SampleRow)
                    .where(SampleRow.batch_id == run_id, SampleRow.index > last_index)
                    .order_by(SampleRow.index)
                    .limit(ROWS_AT_A_TIME)
                ).all()
            if not rows:
                break
            yield from map(sample_of, rows)
            last_index = rows[-1].index
