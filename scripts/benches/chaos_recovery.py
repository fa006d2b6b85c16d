"""Measures, for the chaos bench, the time until work that a kill interrupted is completed."""

from __future__ import annotations

import threading
import time
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError

from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.messages import InboxRow, OutboxRow

_UNFINISHED = (WorkState.PENDING, WorkState.RUNNING)
_KINDS = (InboxRow, OutboxRow, ShardRow)


class Watch(threading.Thread):
    """Records for each kill the rows that waited or were worked on, and the time until the last of them was done."""

    def __init__(self, database: Database) -> None:
        super().__init__(name="watch", daemon=True)
        self._database = database
        self._lock = threading.Lock()
        self._open: list[tuple[float, datetime, dict[type, set[int]]]] = []
        self._over = threading.Event()
        self.seconds: list[float] = []

    def on_kill(self, _part: str) -> None:
        """Record the rows in progress at a kill."""
        moment = now()
        with self._database.read() as session:
            under_way = {
                kind: set(
                    session.scalars(
                        select(kind.id).where(
                            kind.state.in_(_UNFINISHED),
                            # published already, and only checked once more later
                            or_(kind.attempts > 0, kind.due_at <= moment),
                        )
                    )
                )
                for kind in _KINDS
            }
        with self._lock:
            self._open.append((time.monotonic(), moment, under_way))

    def run(self) -> None:
        """Check the recorded rows twice a second, until stopped."""
        while not self._over.wait(0.5):
            self.look()

    def stop(self) -> None:
        """Stop, after a last check. Unfinished work counts with its duration so far."""
        self._over.set()
        self.join()
        self.look()
        self.seconds += [time.monotonic() - began for began, _, _ in self._open]

    def look(self) -> None:
        """Record the duration of each kill whose rows are all done."""
        with self._lock:
            waiting = list(self._open)
        for kill in waiting:
            began, moment, under_way = kill
            try:
                ended = not self._left(moment, under_way)
            except SQLAlchemyError:
                continue  # the database is busy; at the next look
            if ended:
                with self._lock:
                    self._open.remove(kill)
                    self.seconds.append(time.monotonic() - began)

    def _left(self, moment: datetime, under_way: dict[type, set[int]]) -> bool:
        with self._database.read() as session:
            for kind in _KINDS:
                if not under_way[kind]:
                    continue
                query = select(kind.id).where(kind.id.in_(under_way[kind]), kind.state.in_(_UNFINISHED))
                if kind is OutboxRow:
                    query = query.where(or_(OutboxRow.published_at.is_(None), OutboxRow.published_at < moment))
                if session.scalars(query.limit(1)).first() is not None:
                    return True
        return False
