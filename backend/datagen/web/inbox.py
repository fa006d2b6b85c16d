"""Intake: a webhook becomes one inbox row before it is answered; the same event twice is one row.

Who brings a webhook's secret may tell of its own study alone, and may not start anything.
"""

from __future__ import annotations

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from datagen.errors import Refused
from datagen.label_studio.api.webhook_payload import START_TRAINING, WebhookEvent
from datagen.label_studio.projects.provisioning import SECRET_HEADER
from datagen.queue.debounce import DebouncedNotifier
from datagen.store.database import Database
from datagen.store.study_secrets import WebhookClaim
from datagen.store.tables import InboxRow, ProjectRow, StudyRow
from datagen.workflow.services import JobKind, JobRequest

__all__ = ["SECRET_HEADER", "record"]

log = structlog.get_logger()


def record(database: Database, notifier: DebouncedNotifier, body: bytes, claim: WebhookClaim | None) -> bool:
    """Store a webhook's event and ring; False when it was here before.

    Args:
        claim: whose webhook secret the request has; None: it has the basic-auth password instead.

    Raises:
        InputProblem: the body is not an event of Label Studio's.
        Refused: the request's secret does not suffice for this event.
        sqlalchemy.exc.SQLAlchemyError: the database is away; nothing was stored.
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
    """Let a study's secret tell of its own projects, and of those that are of no study (yet, or any more).

    Raises:
        Refused: the project belongs to another study.
    """
    salts = session.execute(
        select(StudyRow.webhook_salt, StudyRow.webhook_salt_previous)
        .join(ProjectRow, ProjectRow.study_id == StudyRow.id)
        .where(ProjectRow.project_id == project_id)
    ).first()
    if salts is not None and claim.salt not in [salt for salt in salts if salt is not None]:
        raise Refused("the webhook's secret is not that of this project's study; run: datagen provision STUDY")
