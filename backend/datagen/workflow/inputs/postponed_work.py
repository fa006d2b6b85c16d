"""Postponement of work on a study's inputs: after an outage, the study's row says when the work is due again.

This work is not leased. Two readings of the same inputs may run at once: the newer one wins (``inputs_reading``), and
proposals that are computed twice are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from datagen.errors import Refused
from datagen.store.tables import StudyRow, now
from datagen.workflow import decision_points
from datagen.workflow.backoff import persist, wait_after
from datagen.workflow.outages import Outage, outage_of
from datagen.workflow.services import LOCK, Services

log = structlog.get_logger()

#: Upper bound of the time that making proposals takes, seconds.
PROPOSALS_SECONDS = 900.0


@contextmanager
def reading_inputs(services: Services, study_id: int) -> Iterator[None]:
    """Context manager that postpones the reading of a study's inputs after an outage, and shows the outage.

    A study that was deleted while the job waited is not read.
    """
    try:
        yield
    except Refused as deleted:
        log.info("inputs.not_read", study=study_id, reason=str(deleted))
    except Exception as fault:
        if (outage := outage_of(fault)) is None:
            raise
        log.warning("inputs.postponed", study=study_id, waits_for=outage.part, reason=outage.reason)
        persist(lambda: _postpone_inputs(services, study_id, outage))


def _postpone_inputs(services: Services, study_id: int, outage: Outage) -> None:
    with services.unit() as unit:
        study = unit.session.get(StudyRow, study_id, with_for_update=LOCK, populate_existing=True)
        if study is None:
            return
        study.inputs_waits += 1
        study.inputs_due_at = now() + timedelta(seconds=wait_after(study.inputs_waits))
        if study.waits_for != str(outage):
            study.waits_for = str(outage)[:300]
            decision_points.republish_open_decision(unit, study_id)


@contextmanager
def making_proposals(services: Services, study_id: int) -> Iterator[None]:
    """Context manager that postpones the making of proposals after an outage.

    Proposals are made once per reading of the inputs, so no later reading would make up for them.
    """

    def set_due(seconds: float | None) -> None:
        with services.unit() as unit:
            study = unit.session.get(StudyRow, study_id, with_for_update=LOCK, populate_existing=True)
            if study is not None:
                study.proposals_due_at = None if seconds is None else now() + timedelta(seconds=seconds)

    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        postponed = study is not None and study.proposals_due_at is not None
    if postponed:
        set_due(PROPOSALS_SECONDS)  # keeps the recovery from starting a second one meanwhile
    try:
        yield
    except Exception as fault:
        outage = outage_of(fault)
        if outage is None:
            if postponed:
                persist(lambda: set_due(None))
            raise
        log.warning("proposals.postponed", study=study_id, waits_for=outage.part, reason=outage.reason)
        persist(lambda: set_due(wait_after(6)))
        return
    if postponed:
        persist(lambda: set_due(None))
