"""Export of a study's generated images. This module selects the samples and describes their runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session, aliased

from datagen.domain.sample import RealPhoto, Sample
from datagen.domain.spec import Spec
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.errors import NotReady
from datagen.export.archive import DEFAULT_OPTIONS, ExportOptions, Summary, write_to
from datagen.export.balance import Balanced, Dimension, balanced
from datagen.export.selection import Judged, Judgement, Selection, chosen, judged, unjudged
from datagen.export.splitting import Apart, split
from datagen.export.writer import requested_formats
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.backoff import patiently
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import Services, StudyKey, find_study
from datagen.workflow.studies.counting import Progress, no_progress, observed
from datagen.workflow.studies.credentials import SignerFiles, credentials_of
from datagen.workflow.studies.descriptions import describe_run, describe_specs
from datagen.workflow.studies.destinations import destination
from datagen.workflow.studies.real_photos import RealPhotos, check_share, wanted_count

#: Number of rows that are read in one transaction. It bounds the memory for a million samples.
ROWS_AT_A_TIME = 500
#: Largest number of runs that an error message lists.
MAX_NAMED = 12
#: Selects every image.
ALL = Selection()


def export_study(
    services: Services,
    key: StudyKey,
    place: str | Path,
    *,
    selection: Selection = ALL,
    balance: Sequence[Dimension] = (),
    real_share: float = 0.0,
    rejected: bool = False,
    shares: Mapping[str, float] | None = None,
    apart: Apart = Apart.BOTH,
    options: ExportOptions = DEFAULT_OPTIONS,
    overwrite: bool = False,
    progress: Progress = no_progress,
    signer: SignerFiles | None = None,
) -> Summary:
    """Write the selected samples of a study's runs to a place: a zip if it ends with .zip, else a folder.

    Args:
        services: the services.
        key: the study.
        place: the zip or the folder: a path, or an fsspec URL; see ``destination``.
        selection: which samples.
        balance: what is balanced among them; nothing by default.
        real_share: the share of real photos in the set, 0 to less than 1; fewer are added if there are too few.
        rejected: write the candidates that the critic rejected, as far as they are kept, in place of the samples.
        shares: the shares of the splits, by name; without them there are none.
        apart: what two splits may not have in common.
        options: formats, and how they are written.
        overwrite: whether an export in an object store is replaced; on this machine it is.
        progress: gets the number of images that are written, and of all.
        signer: who signs the manifests of the images; None: they get none.

    Raises:
        InputProblem: a format is unknown, requested twice, or cannot hold the study; there is no such split; or the
            selection leaves nothing.
        NotReady: there is no such run, or no image is generated yet.
        StoreError: an object is missing or damaged, or a label disagrees with its mask; no file is left behind.
    """
    with services.database.read() as session:
        study = find_study(session, key)
        name = study.name
        selection.check(study.labels)
        check_share(real_share)
        formats = requested_formats(options.formats, study.labels)
        runs = runs_of(session, study, selection.runs, rejected=rejected)
        if not session.scalar(select(SampleRow.id).where(SampleRow.batch_id.in_([run.id for run in runs])).limit(1)):
            which = f"{_named(selection.runs)} of {name!r}" if selection.runs else f"the runs of {name!r}"
            raise NotReady(f"nothing of {which} is generated yet; see: datagen status {shlex.quote(name)}")
        description: dict[str, Any] = {"study": study.name, "runs": [describe_run(run) for run in runs]}
        specs = [
            {**spec, "study": study.name} for spec in describe_specs(session, dict.fromkeys(run.spec for run in runs))
        ]
        run_ids = [run.id for run in runs]
        bodies = {run.spec.version: run.spec.body for run in runs}
        judgement = _judgement(session, run_ids) if selection.verdicts else unjudged
    if selection != ALL:
        description["selection"] = selection.to_json()
    if not options.encoding.is_lossless:
        description["images"] = str(options.encoding)
    if options.tiling is not None:
        description["tiles"] = asdict(options.tiling)

    def selected() -> Iterator[Sample]:
        samples = chosen(samples_of_runs(services.database, run_ids), selection, judgement)
        return samples if subset is None else filter(subset.has, samples)

    notes: list[str] = []
    subset: Balanced | None = None
    if balance:
        subset = balanced(selected(), balance)
        notes.append(subset.note())
        description["balance"] = list(balance)
    pictures = StoredPictures(services.images, services.decoder)
    real = RealPhotos(services.images, pictures)
    photos: Sequence[RealPhoto] = ()
    if real_share:
        specs_in_order = [Spec.from_json(bodies[version]) for version in sorted(bodies)]
        boxes_suffice = all(each.boxes_suffice for each in formats)
        usable = real.find(specs_in_order, study.labels, boxes_suffice=boxes_suffice)
        synthesized = sum(1 for _ in selected())
        wanted = wanted_count(real_share, synthesized)
        photos = usable.photos[:wanted]
        notes += usable.problems
        if len(photos) < wanted:
            notes.append(
                f"{len(photos):,} of {counted(len(photos) + synthesized, 'image')} "
                f"{by_number(len(photos), 'is a real photo', 'are real photos')} in place of {real_share:.0%}, because "
                f"{counted(len(usable.photos), 'concept photo')} can be used; select fewer images for a larger share"
            )
        description["real_photos"] = {"share": real_share, "photos": len(photos)}
    in_splits = split(selected(), shares, apart, photos) if shares else None
    samples = selected() if in_splits is None else filter(in_splits.has, selected())
    stored = patiently(services.images.get)

    def read(digest: str) -> bytes:
        file = real.read(digest)
        return stored(digest) if file is None else file

    credentials = credentials_of(services, specs, signer) if signer is not None else None
    in_files = [run_ids, selection.to_json(), list(balance), real_share, rejected, repr(options)]
    choice = json.dumps([study.name, *in_files, dict(in_splits.counts) if in_splits is not None else {}])
    total = sum(in_splits.counts.values()) if in_splits is not None else sum(1 for _ in selected()) + len(photos)
    with destination(place, choice, overwrite=overwrite) as sink:
        return write_to(
            sink,
            observed(chain(samples, photos), total, progress),
            labels=study.labels,
            read=read,
            about=description,
            specs=specs,
            split=in_splits,
            options=options,
            backgrounds=pictures.load,
            notes=notes,
            sign=credentials.sign if credentials is not None else None,
        )


def unfinished_runs(services: Services, key: StudyKey, run_numbers: Sequence[int] = ()) -> list[str]:
    """Return a sentence for each incomplete run of a study. An export contains only the images generated so far.

    If ``run_numbers`` are given, only these runs are considered.

    Raises:
        Refused: there is no such study.
    """
    generated_count = select(func.count()).where(SampleRow.batch_id == BatchRow.id).scalar_subquery()
    with services.database.read() as session:
        study = find_study(session, key)
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


def runs_of(session: Session, study: StudyRow, numbers: Sequence[int], *, rejected: bool) -> Sequence[BatchRow]:
    """Return the runs of these numbers, or all runs, in order; or what the critic rejected for them.

    Raises:
        NotReady: one does not exist, or there is none.
    """
    kind = BatchKind.REJECTED if rejected else BatchKind.RUN
    of_study = (BatchRow.study_id == study.id, BatchRow.kind == kind)
    runs = session.scalars(select(BatchRow).where(*of_study).order_by(BatchRow.number)).all()
    if rejected:
        left = [run for run in runs if not numbers or run.number in numbers]
        if not left:
            which = _named(numbers) if numbers else "the runs"
            raise NotReady(f"the critic rejected nothing for {which} of {study.name!r}; export it without --rejected")
        return left
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
    """Return the judgement of the samples of these runs: their verdicts on copies of them, the spot checks."""
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
