"""The two jobs of a study's inputs: one reads them, the other makes proposals. Each leases its own row of the study."""

from __future__ import annotations

import threading
from functools import partial
from typing import Generic

from datagen.errors import EngineError, Refused
from datagen.store import leases
from datagen.store.leases import R
from datagen.store.tables.base import now
from datagen.store.tables.inputs import InputReadingRow, ProposalMakingRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.generation.shard_rendering import FittedEngineCache
from datagen.workflow.inputs import early_fit, input_requests, input_sync, suggestions
from datagen.workflow.leased_work import LeasedJob, LeaseLost, Write, leased_work
from datagen.workflow.outages import Outage
from datagen.workflow.services import LOCK, JobKind, Services, UnitOfWork

#: Number of failures after which the work is given up, until it is requested again.
MAX_ATTEMPTS = 5


def read_inputs(services: Services, study_id: int) -> None:
    """Read a study's inputs if a reading is due and no other process owns it."""
    leased_work(services, _Reading(services), study_id)


def make_proposals(services: Services, fitted_engines: FittedEngineCache, study_id: int) -> None:
    """Make a study's proposals if they are due and no other process owns the work, and then fit its inputs early."""
    leased_work(services, _ProposalMaking(services, fitted_engines), study_id)


class _StudyJob(LeasedJob[R], Generic[R]):
    """Work on a row that has a study's id."""

    max_failures = MAX_ATTEMPTS

    def lock(self, unit: UnitOfWork, row: R, *, gives_up: bool) -> None:  # noqa: ARG002
        """Lock the study, if it still exists."""
        unit.session.get(StudyRow, row.id, with_for_update=LOCK, populate_existing=True)


class _Reading(_StudyJob[InputReadingRow]):
    """The reading of a study's inputs."""

    table = InputReadingRow

    def __init__(self, services: Services) -> None:
        self._services = services

    def work(self, row: InputReadingRow, lost: threading.Event) -> Write[InputReadingRow]:  # noqa: ARG002
        """Read the inputs, and return a function that ends the reading.

        Raises:
            LeaseLost: another process owns the reading now, or the study was deleted.
        """
        try:
            input_sync.refresh(self._services, row.id, lease=row)
        except Refused as deleted:
            raise LeaseLost from deleted
        return self._end

    def _end(self, unit: UnitOfWork, row: InputReadingRow) -> None:
        """Make the row due again if inputs are unread, changed during the reading, or have a picture to be retried."""
        study = unit.session.get_one(StudyRow, row.id)
        retry_at = input_requests.next_retry(unit.session, row.id)
        if study.inputs_read != study.inputs_changed:  # they changed during the reading, or it left some unread
            leases.repeat(row, now())
            unit.enqueue_after_commit(JobKind.INPUTS, row.id)
        elif retry_at is not None:
            leases.repeat(row, retry_at)

    def waits(self, unit: UnitOfWork, row: InputReadingRow, outage: Outage) -> None:
        """Show on the open decision which outage the reading waits for."""
        study = unit.session.get_one(StudyRow, row.id)
        if study.waits_for != str(outage):
            study.waits_for = str(outage)[:300]
            decision_points.republish_open_decision(unit, study.id)

    def gave_up(self, unit: UnitOfWork, row: InputReadingRow) -> None:
        """Show on the open decision why the reading was given up."""
        unit.session.get_one(StudyRow, row.id).waits_for = ""
        decision_points.republish_open_decision(unit, row.id)


class _ProposalMaking(_StudyJob[ProposalMakingRow]):
    """The making of a study's proposals, and then the early fit of its inputs."""

    table = ProposalMakingRow
    permanent_faults = (EngineError,)

    def __init__(self, services: Services, fitted_engines: FittedEngineCache) -> None:
        self._services, self._fitted_engines = services, fitted_engines

    def work(self, row: ProposalMakingRow, lost: threading.Event) -> Write[ProposalMakingRow]:
        """Make proposals until all are made or the job's time is over, and return a function that ends the work.

        Raises:
            LeaseLost: another process owns the work now.
        """
        is_complete = suggestions.propose(self._services, self._fitted_engines.pictures, row.id, lost)
        if is_complete:
            early_fit.fit_early(self._services, self._fitted_engines, row.id, lost)
        return partial(self._end, row.revision, is_complete)

    def _end(self, revision: int, is_complete: bool, unit: UnitOfWork, row: ProposalMakingRow) -> None:
        """Make the row due again, if proposals are left or were requested during the work.

        ``revision`` is the row's revision when the work began.
        """
        if not is_complete or row.revision != revision:
            leases.repeat(row, now())
            unit.enqueue_after_commit(JobKind.PROPOSALS, row.id)
