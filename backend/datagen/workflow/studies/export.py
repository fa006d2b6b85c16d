"""Export of a study's generated images. This module selects the samples and describes their runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from datagen.domain.sample import Sample
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.errors import NotReady
from datagen.export.archive import DEFAULT_OPTIONS, ExportOptions, Summary, write_dataset
from datagen.export.selection import Judged, Judgement, Selection, chosen, judged, unjudged
from datagen.export.splitting import Apart, split
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.backoff import patiently
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import Services, find_study
from datagen.workflow.studies.descriptions import describe_run, describe_specs

#: Number of rows that are read in one transaction. It bounds the memory for a million samples.
ROWS_AT_A_TIME = 500
#: Largest number of runs that an error message lists.
MAX_NAMED = 12
#: Selects every image.
ALL = Selection()


def export_study(
    services: Services,
    name: str,
    path: Path,
    *,
    selection: Selection = ALL,
    shares: Mapping[str, float] | None = None,
    apart: Apart = Apart.BOTH,
    options: ExportOptions = DEFAULT_OPTIONS,
) -> Summary:
    """Write the selected samples of a study's runs to ``path``: a zip if it ends with .zip, else a folder.

    ``shares`` are the shares of the splits, by name; without them there are none.

    Raises:
        InputProblem: a format is unknown, requested twice, or cannot hold the study; there is no such split; or the
            selection leaves nothing.
        NotReady: there is no such run, or no image is generated yet.
        StoreError: an object is missing or damaged, or a label disagrees with its mask; no file is left behind.
    """
    with services.database.read() as session:
        study = find_study(session, name)
        selection.check(study.labels)
        runs = _runs(session, study, selection.runs)
        if not session.scalar(select(SampleRow.id).where(SampleRow.batch_id.in_([run.id for run in runs])).limit(1)):
            which = f"{_named(selection.runs)} of {name!r}" if selection.runs else f"the runs of {name!r}"
            raise NotReady(f"nothing of {which} is generated yet; see: datagen status {shlex.quote(name)}")
        description: dict[str, Any] = {"study": study.name, "runs": [describe_run(run) for run in runs]}
        specs = [
            {**spec, "study": study.name} for spec in describe_specs(session, dict.fromkeys(run.spec for run in runs))
        ]
        run_ids = [run.id for run in runs]
        judgement = _judgement(session, run_ids) if selection.verdicts else unjudged
    if selection != ALL:
        description["selection"] = selection.to_json()

    def selected() -> Iterator[Sample]:
        return chosen(samples_of_runs(services.database, run_ids), selection, judgement)

    samples = selected()
    in_splits = split(selected(), shares, apart) if shares else None
    if in_splits is not None:
        samples = filter(in_splits.has, samples)
    return write_dataset(
        path,
        samples,
        labels=study.labels,
        read=patiently(services.images.get),
        about=description,
        specs=specs,
        split=in_splits,
        options=options,
    )


def unfinished_runs(services: Services, name: str, run_numbers: Sequence[int] = ()) -> list[str]:
    """Return a sentence for each incomplete run of a study. An export contains only the images generated so far.

    If ``run_numbers`` are given, only these runs are considered.

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
            if (not run_numbers or run.number in run_numbers) and count < run.count
        ]


def _runs(session: Session, study: StudyRow, numbers: Sequence[int]) -> Sequence[BatchRow]:
    """Return the runs of these numbers, or all runs, in order.

    Raises:
        NotReady: one does not exist, or there is none.
    """
    of_study = (BatchRow.study_id == study.id, BatchRow.kind == BatchKind.RUN)
    runs = session.scalars(select(BatchRow).where(*of_study).order_by(BatchRow.number)).all()
    if not runs:
        raise NotReady(f"{study.name!r} has no generation run yet; approve a version first")
    missing = set(numbers).difference(run.number for run in runs)
    if missing:
        known_runs = ", ".join(f"{run.number} ({run.name})" for run in runs[:MAX_NAMED])
        more = f" and {len(runs) - MAX_NAMED} more" if len(runs) > MAX_NAMED else ""
        raise NotReady(f"{study.name!r} has no {_named(sorted(missing))}; there are: {known_runs}{more}")
    return [run for run in runs if not numbers or run.number in numbers]


def _named(numbers: Sequence[int]) -> str:
    return f"{by_number(len(numbers), 'run', 'runs')} {', '.join(map(str, numbers))}"


def _judgement(session: Session, run_ids: Sequence[int]) -> Judgement:
    """Return what people said of the samples of these runs: their verdicts on copies of them, the spot checks."""
    run, check, checks = aliased(BatchRow), aliased(SampleRow), aliased(BatchRow)
    rows = session.execute(
        select(SpecRow.digest, check.index, VerdictRow.opinion)
        .join(check, check.id == VerdictRow.sample_id)
        .join(checks, checks.id == check.batch_id)
        .join(run, and_(run.study_id == checks.study_id, run.number == checks.number, run.kind == BatchKind.RUN))
        .join(SpecRow, SpecRow.id == checks.spec_id)
        .where(run.id.in_(run_ids), checks.kind == BatchKind.SPOT, verdict_sync.effective_verdicts())
    ).all()
    opinions: dict[tuple[str, int], list[Opinion]] = {}
    for digest, index, opinion in rows:
        opinions.setdefault((digest, index), []).append(Opinion(opinion))

    def judgement(sample: Sample) -> Judged:
        return judged(opinions.get((sample.provenance.spec_digest, sample.provenance.index), ()))

    return judgement


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
