"""Removal of the files of downloads that have expired, failed or were cancelled."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import and_, delete, or_, select, update

from datagen.store.tables.base import WorkState, now
from datagen.store.tables.handovers import HandoverRow
from datagen.workflow.services import Services

#: Time for which the zip of a download is kept, and for which an ended handover is listed.
KEPT, LISTED = timedelta(hours=48), timedelta(days=30)
#: Time for which the draft of a failed or cancelled download is left, because its worker may still write.
_LEFT = timedelta(minutes=10)
#: Largest number of files that are removed at a time; the next call removes the rest.
_AT_A_TIME = 50


def remove_expired(services: Services) -> int:
    """Remove the files of expired and ended downloads, and old rows; return the number of removed files.

    Raises:
        StoreUnavailable: the image store does not answer; the next call removes the rest.
    """
    moment = now()
    ended = HandoverRow.state.in_([WorkState.FAILED, WorkState.CANCELLED])
    with services.database.read() as session:
        expired = session.execute(
            select(HandoverRow.id, HandoverRow.file)
            .where(
                HandoverRow.file != "",
                or_(HandoverRow.expires_at <= moment, and_(ended, HandoverRow.due_at <= moment - _LEFT)),
            )
            .limit(_AT_A_TIME)
        ).all()
        old = session.scalars(
            select(HandoverRow.id)
            .where(HandoverRow.file == "", HandoverRow.finished_at <= moment - LISTED)
            .limit(_AT_A_TIME)
        ).all()
    for _, file in expired:
        services.download_files.remove(file)
    if expired or old:
        with services.database.write() as session:
            ids = [handover_id for handover_id, _ in expired]
            session.execute(update(HandoverRow).where(HandoverRow.id.in_(ids)).values(file=""))
            session.execute(delete(HandoverRow).where(HandoverRow.id.in_(old)))
    return len(expired)
