"""Inbox: a webhook is stored as one inbox row before it is answered; a duplicate event adds no row.

A deletion and “Start Training” always add a row, because they contain nothing by which a duplicate could be recognized.

A webhook's secret is valid only for events of its own study, and not for “Start Training”.
"""

from __future__ import annotations

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from datagen.errors import Refused
from datagen.label_studio.api.webhook_payload import START_TRAINING, WebhookEvent
from datagen.queue.debounce import DebouncedNotifier
from datagen.store.database import Database
from datagen.store.study_secrets import WebhookClaim
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.services import JobKind, JobRequest

log = structlog.get_logger()


def record(database: Database, notifier: DebouncedNotifier, body: bytes, claim: WebhookClaim | None) -> bool:
    """Store a webhook's event, schedule its job and return True; return False if the event was stored before.

    Args:
        database: The database with the inbox.
        notifier: Schedules the job.
        body: The body of the request.
        claim: The claim of the request's webhook secret; None if the request carries the basic-auth password instead.

    Raises:
        InputProblem: The body is not an event of Label Studio.
        Refused: The request's secret is not valid for this event.
        sqlalchemy.exc.SQLAlchemyError: The database is unavailable; nothing was stored.
    """
    event = WebhookEvent.parse(body)
    if claim is not None and event.action == START_TRAINING:
        raise Refused("“Start Training” needs the basic-auth password: it comes from the ML-backend connection")
    row = InboxRow(
        fingerprint=event.fingerprint,
        action=event.action,
        project_id=event.project_id,
        task_ids=list(event.task_ids),
        annotation_ids=list(event.annotation_ids),
    )
    try:
        with database.write() as session:
            if claim is not None:
                _check_claim(session, claim, event.project_id)
            session.add(row)
    except IntegrityError:
        with database.read() as session:
            if session.scalar(select(InboxRow.id).where(InboxRow.fingerprint == event.fingerprint)) is None:
                raise
        log.info("event.known", action=event.action, project=event.project_id)
        return False
    log.info("event.stored", inbox=row.id, action=event.action, project=event.project_id)
    notifier.schedule(JobRequest(JobKind.EVENT, row.id))
    return True


def _check_claim(session: Session, claim: WebhookClaim, project_id: int) -> None:
    """Check that a study's secret is used for a project of that study, or for one that belongs to no study.

    Raises:
        Refused: The project belongs to another study.
    """
    salts = session.execute(
        select(StudyRow.webhook_salt, StudyRow.webhook_salt_previous)
        .join(ProjectRow, ProjectRow.study_id == StudyRow.id)
        .where(ProjectRow.project_id == project_id)
    ).first()
    if salts is not None and claim.salt not in [salt for salt in salts if salt is not None]:
        raise Refused("the webhook's secret is not that of this project's study; run: datagen provision STUDY")
