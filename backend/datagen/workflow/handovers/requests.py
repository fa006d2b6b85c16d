"""Requests for handovers: they are checked, stored as rows, and cancelled."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.wording import by_number, counted, file_size
from datagen.errors import InputProblem, NotReady, Refused
from datagen.export.writer import ExportWriter, requested_formats
from datagen.store.tables.base import BatchKind, HandoverKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.handovers import HandoverRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.generation.sample_table import TableFilter, count_of, stored_count
from datagen.workflow.handovers.wishes import DownloadWish, PushWish
from datagen.workflow.services import JobKind, Services, UnitOfWork

#: Records in the transaction of a request that it is carried out; it may raise an exception, which undoes the request.
Accept = Callable[[UnitOfWork], None]
#: Largest number of handovers of one study that wait or are made.
MAX_UNDER_WAY = 3
#: Bytes of the disk that a download leaves free.
RESERVED_BYTES = 2**30
#: Number of samples whose files are measured for the estimate of a download's size.
_MEASURED = 12
_UNFINISHED = (WorkState.PENDING, WorkState.RUNNING)


def request_download(
    services: Services, study_id: int, wish: DownloadWish, who: str, accept: Accept | None = None
) -> int:
    """Request a download and return its id; ``accept`` is called in the transaction that stores it.

    Raises:
        InputProblem: values cannot be used, or the study lacks a label.
        NotReady: the run has no image yet.
        Refused: there is no such run, too many handovers of the study are under way, or the disk has no room.
    """
    wish.check()
    with services.database.read() as session:
        study = session.get_one(StudyRow, study_id)
        wish.selection().check(study.labels)
        formats = requested_formats(wish.formats, study.labels)
        run = run_of(session, study_id, wish.run)
        matching = TableFilter.of(wish.matching or {})
        count = count_of(session, run, matching) if wish.matching else stored_count(session, run)
    if wish.indices is not None:
        count = min(count, len(wish.indices))
    if not count and wish.matching:
        raise InputProblem("No image of the run matches the filter. Change it, or download the whole run.")
    if not count:
        raise NotReady("No image of this run is stored yet. Wait for the first shard, and try again.")
    _check_room(services, run.id, count, formats)
    return _request(services, study_id, HandoverKind.DOWNLOAD, wish, who, secrets.token_hex(16) + ".zip", accept)


def request_push(services: Services, study_id: int, wish: PushWish, who: str) -> int:
    """Request a push into a project, and return its id.

    Raises:
        InputProblem: neither a project nor a title is given, or the project belongs to a study.
        Refused: there is no such run, or too many handovers of the study are under way.
    """
    if wish.project_id is None and not wish.title.strip():
        raise InputProblem("Choose a project, or give the new one a title.")
    with services.database.read() as session:
        run_of(session, study_id, wish.run)
        if session.scalar(select(ProjectRow.study_id).where(ProjectRow.project_id == wish.project_id)) is not None:
            raise InputProblem("This project belongs to a study. Choose one of your own.")
    return _request(services, study_id, HandoverKind.PUSH, wish, who, "")


def cancel(services: Services, study_id: int, handover_id: int) -> None:
    """Cancel a handover; tasks that a push has created stay.

    Raises:
        Refused: there is no such handover, or it has ended.
    """
    with services.unit() as unit:
        row = unit.session.get(HandoverRow, handover_id, with_for_update=True)
        if row is None or row.study_id != study_id:
            raise Refused("There is no such download or push any more.")
        if row.state not in _UNFINISHED:
            raise Refused("It has ended already.")
        # the worker that makes it loses its lease, and stops
        row.state, row.token, row.due_at, row.finished_at = WorkState.CANCELLED, None, now(), now()


def run_of(session: Session, study_id: int, number: int) -> BatchRow:
    """Return a run of a study.

    Raises:
        Refused: there is none of that number.
    """
    run = session.scalar(
        select(BatchRow).where(BatchRow.study_id == study_id, BatchRow.kind == BatchKind.RUN, BatchRow.number == number)
    )
    if run is None:
        raise Refused(f"There is no run {number} of this study any more.")
    return run


def _request(
    services: Services,
    study_id: int,
    kind: HandoverKind,
    wish: DownloadWish | PushWish,
    who: str,
    file: str,
    accept: Accept | None = None,
) -> int:
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        under_way = unit.session.scalar(
            select(func.count()).where(HandoverRow.study_id == study_id, HandoverRow.state.in_(_UNFINISHED))
        )
        if (under_way or 0) >= MAX_UNDER_WAY:
            raise Refused(
                f"{MAX_UNDER_WAY} downloads or pushes of this study are under way. Wait for one, or cancel one."
            )
        row = HandoverRow(study_id=study_id, kind=kind, wish=wish.to_json(), requested_by=who[:200], file=file)
        unit.session.add(row)
        unit.session.flush()
        unit.note(study, who, f"{kind} of run {wish.run}")
        unit.enqueue_after_commit(JobKind.HANDOVER, row.id)
        if accept is not None:
            accept(unit)
        return row.id


def _check_room(services: Services, run_id: int, count: int, formats: Sequence[type[ExportWriter]]) -> None:
    """Check that the disk has room for a download of ``count`` images.

    Raises:
        Refused: it has not; the sentence names both numbers.
    """
    free = services.download_files.free_bytes()
    if free is None:
        return
    needed = estimated_bytes(services, run_id, count, formats)
    if needed + RESERVED_BYTES > free:
        raise Refused(
            f"The download of {counted(count, 'image')} {by_number(count, 'needs', 'need')} about "
            f"{file_size(needed)}, and the disk of the image store has {file_size(max(0, free - RESERVED_BYTES))} left "
            "for it. Choose fewer images, JPEG in place of PNG, or make room."
        )


def estimated_bytes(services: Services, run_id: int, count: int, formats: Sequence[type[ExportWriter]]) -> int:
    """Return about how large a zip of ``count`` images of a run is, from the sizes of a few of its files in the store.

    Lossy images are smaller; they are counted as they are stored.
    """
    image, mask = (SampleRow.body[name, "digest"].as_string() for name in ("image", "mask"))
    with services.database.read() as session:
        first, last = session.execute(
            select(func.min(SampleRow.index), func.max(SampleRow.index)).where(SampleRow.batch_id == run_id)
        ).one()
        wanted = sorted({first + (last - first) * number // _MEASURED for number in range(_MEASURED + 1)})
        digests = session.execute(
            select(image, mask).where(SampleRow.batch_id == run_id, SampleRow.index.in_(wanted))
        ).all()
    sizes = [sum(services.images.size(digest) or 0 for digest in pair) for pair in digests]
    bytes_of_files = sum(sizes) / max(1, len(sizes)) * count
    formats_with_images = sum(1 for each in formats if each.holds_images)
    return int(bytes_of_files * (formats_with_images + (1 if formats_with_images < len(formats) else 0)))
