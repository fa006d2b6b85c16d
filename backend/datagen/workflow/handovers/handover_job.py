"""The job of a handover: it exports the images of a run to a zip, or pushes them into a project."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog
from sqlalchemy import Update, select, update
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import InputProblem, NotReady, Refused, StoreMissing
from datagen.export.selection import Selection
from datagen.store.tables.base import HandoverKind, WorkState, now
from datagen.store.tables.handovers import HandoverRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.generation.sample_table import TableFilter, matching_indices
from datagen.workflow.handovers.expiry import KEPT
from datagen.workflow.handovers.requests import run_of
from datagen.workflow.handovers.wishes import DownloadWish, PushWish
from datagen.workflow.leased_work import LeasedJob, LeaseLost, Write, leased_work
from datagen.workflow.services import Services, UnitOfWork
from datagen.workflow.studies.export import export_study
from datagen.workflow.studies.push import PushOptions, create_target, push_to_project

log = structlog.get_logger()

#: Seconds between two writes of the progress.
PROGRESS_SECONDS = 1.0


def hand_over(services: Services, handover_id: int) -> None:
    """Make a handover, if it is due and no other process makes it."""
    leased_work(services, _Handover(services), handover_id)


class _Handover(LeasedJob[HandoverRow]):
    table = HandoverRow
    max_failures = 3
    permanent_faults = (InputProblem, NotReady, Refused, StoreMissing)

    def __init__(self, services: Services) -> None:
        self._services = services
        self.patience = services.outage_patience

    def work(self, row: HandoverRow, lost: threading.Event) -> Write[HandoverRow]:
        """Export or push the images, and return a function that writes the result.

        Raises:
            LeaseLost: another process makes the handover now, or it was cancelled.
        """
        with self._services.database.read() as session:
            if session.get(StudyRow, row.study_id) is None:
                raise LeaseLost
        progress = _progress(self._services, row, lost)
        if row.kind is HandoverKind.DOWNLOAD:
            return self._download(row, progress)
        return self._push(row, progress)

    def gave_up(self, unit: UnitOfWork, row: HandoverRow) -> None:  # noqa: ARG002
        """Note when it ended."""
        row.finished_at = now()

    def _download(self, row: HandoverRow, progress: Callable[[int, int], None]) -> Write[HandoverRow]:
        wish, files = DownloadWish.from_json(row.wish), self._services.download_files
        try:
            summary = export_study(
                self._services,
                row.study_id,
                files.place(row.file),
                selection=self._selection(row, wish),
                balance=wish.dimensions(),
                real_share=wish.real_percent / 100,
                shares=wish.shares(),
                apart=wish.apart_by(),
                options=wish.options(),
                overwrite=True,
                progress=progress,
            )
            size = files.size(row.file)
        finally:
            self._remove_if_deleted(row)

        def end(_unit: UnitOfWork, row: HandoverRow) -> None:
            row.done = row.total = summary.samples
            row.bytes, row.notes = size, list(summary.notes)
            row.finished_at = now()
            row.expires_at = row.finished_at + KEPT

        return end

    def _remove_if_deleted(self, row: HandoverRow) -> None:
        """Remove the file if the study was deleted meanwhile: no row names it any more, so nothing else would."""
        with self._services.database.read() as session:
            is_named = session.scalar(select(HandoverRow.id).where(HandoverRow.file == row.file)) is not None
        if not is_named:
            self._services.download_files.remove(row.file)

    def _selection(self, row: HandoverRow, wish: DownloadWish) -> Selection:
        """Return which images are wanted; those that match a filter of the table are looked up now."""
        if not wish.matching:
            return wish.selection()
        with self._services.database.read() as session:
            run = run_of(session, row.study_id, wish.run)
            return replace(wish.selection(), indices=matching_indices(session, run, TableFilter.of(wish.matching)))

    def _push(self, row: HandoverRow, progress: Callable[[int, int], None]) -> Write[HandoverRow]:
        wish = PushWish.from_json(row.wish)
        project_id = wish.project_id
        if project_id is None:
            project_id = create_target(self._services, row.study_id, wish.title)
            self._note_project(row, wish, project_id)
        options = PushOptions(runs=(wish.run,), annotations=wish.annotations)
        pushed = push_to_project(self._services, row.study_id, project_id, options, progress)

        def end(_unit: UnitOfWork, row: HandoverRow) -> None:
            row.done = row.total = pushed.samples
            row.notes = [f"{pushed.new:,} of {pushed.samples:,} tasks are new"]
            row.finished_at = now()

        return end

    def _note_project(self, row: HandoverRow, wish: PushWish, project_id: int) -> None:
        """Store the id of the new project, so that a repeated attempt uses it."""
        wanted = PushWish(run=wish.run, project_id=project_id, title=wish.title, annotations=wish.annotations)
        with self._services.database.write() as session:
            session.execute(_update_of(row).values(wish=wanted.to_json()))


def _progress(services: Services, row: HandoverRow, lost: threading.Event) -> Callable[[int, int], None]:
    """Return a function that stores the progress at intervals, and stops the work once the lease is lost."""
    written_at = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal written_at
        if lost.is_set():
            raise LeaseLost
        if time.monotonic() - written_at < PROGRESS_SECONDS:
            return
        written_at = time.monotonic()
        try:
            with services.database.write() as session:
                session.execute(_update_of(row).values(done=done, total=total))
        except SQLAlchemyError as fault:  # the next one may be written
            log.warning("handover.progress_not_stored", handover=row.id, reason=type(fault).__name__)

    return progress


def _update_of(row: HandoverRow) -> Update:
    """Return the statement that updates a row which this process owns."""
    return update(HandoverRow).where(
        HandoverRow.id == row.id, HandoverRow.token == row.token, HandoverRow.state == WorkState.RUNNING
    )
