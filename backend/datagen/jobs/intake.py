"""Intake: a webhook becomes one inbox row before it is answered; the same event twice is one row."""

from __future__ import annotations

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from datagen.jobs.bell import Bell
from datagen.label_studio.payloads import WebhookEvent
from datagen.label_studio.provisioning import SECRET_HEADER
from datagen.store.database import Database
from datagen.store.rows import InboxRow
from datagen.workflow.workshop import Door, Knock

__all__ = ["SECRET_HEADER", "record"]

log = structlog.get_logger()


def record(database: Database, bell: Bell, body: bytes) -> bool:
    """Store a webhook's event and ring; False when it was here before.

    Raises:
        InputProblem: the body is not an event of Label Studio's.
        sqlalchemy.exc.SQLAlchemyError: the database is away; nothing was stored.
    """
    event = WebhookEvent.parse(body)
    row = InboxRow(
        fingerprint=event.fingerprint,
        action=event.action,
        project_id=event.project_id,
        task_ids=list(event.task_ids),
        annotation_ids=list(event.annotation_ids),
    )
    try:
        with database.write() as session:
            session.add(row)
    except IntegrityError:
        with database.read() as session:
            if session.scalar(select(InboxRow.id).where(InboxRow.fingerprint == event.fingerprint)) is None:
                raise
        log.info("event.known", action=event.action, project=event.project_id)
        return False
    log.info("event.stored", inbox=row.id, action=event.action, project=event.project_id)
    bell.press(Knock(Door.EVENT, row.id))
    return True
