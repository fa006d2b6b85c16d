"""Live parts of a run's page: a stream of server-sent events, and the same parts for browsers without a stream.

The parts are HTML that the page's script puts in the place of the former ones. A stream ends by itself, and the browser
begins the next one, so that a closed page does not occupy a thread for long, and the access of the person is checked
again.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from cachetools import TTLCache
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.web.pages.addresses import STREAMS
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.study_pages.gallery_view import batch_of
from datagen.workflow.study_pages.live_view import RunLive, live_of

log = structlog.get_logger()

#: Seconds after which a stream ends, and between two readings of the rows.
STREAM_SECONDS, LOOK_SECONDS = 25.0, 2.0
#: Names of the live parts, which are those of their templates.
PARTS = ("run_progress", "run_handovers")
#: Milliseconds after which a browser begins the next stream.
_RECONNECT_MS = 1000


@dataclass(frozen=True, slots=True)
class LiveRuns:
    """Reads what changes on the pages of runs; pages that are open at the same time share what was read."""

    database: Database
    _kept: TTLCache[int, RunLive]
    _guard: threading.Lock

    @staticmethod
    def of(database: Database) -> LiveRuns:
        """Return a reader of these rows."""
        return LiveRuns(database, TTLCache(256, ttl=LOOK_SECONDS / 2), threading.Lock())

    def read(self, batch_id: int) -> RunLive | None:
        """Return the changing values of a run's page; None if the run was deleted."""
        with self._guard:
            kept = self._kept.get(batch_id)
        if kept is not None:
            return kept
        with self.database.read() as session:
            batch = session.get(BatchRow, batch_id)
            live = live_of(session, batch) if batch is not None else None
        if live is not None:
            with self._guard:
                self._kept[batch_id] = live
        return live


def add_live(blueprint: Blueprint, database: Database, writer: PageWriter) -> None:
    """Add the views to the pages."""
    runs = LiveRuns.of(database)

    def run_id(study_id: int, number: int) -> int:
        with database.read() as session:
            return batch_of(session, study_id, BatchKind.RUN, number, visible_projects()).id

    def parts_of(live: RunLive, token: str) -> str:
        parts = {name: writer.renderer.part(name, live=live, form_token=token) for name in PARTS}
        return json.dumps({"parts": parts, "live": live.is_live})

    @blueprint.get("/studies/<int:study_id>/run/<int:number>/live")
    def live_parts(study_id: int, number: int) -> ResponseReturnValue:
        live = runs.read(run_id(study_id, number))
        if live is None:
            return writer.error(404, "This run was deleted.")
        return Response(parts_of(live, writer.visitors.form_token(request)), mimetype="application/json")

    @blueprint.get(f"/{STREAMS}/<int:study_id>/run/<int:number>")
    def live_stream(study_id: int, number: int) -> ResponseReturnValue:
        batch_id, token = run_id(study_id, number), writer.visitors.form_token(request)

        def events() -> Iterator[str]:
            yield f"retry: {_RECONNECT_MS}\n\n"
            ends_at, last = time.monotonic() + STREAM_SECONDS, ""
            while time.monotonic() < ends_at:
                try:
                    live = runs.read(batch_id)
                except SQLAlchemyError as fault:  # the browser asks again
                    log.warning("stream.ended", reason=type(fault).__name__)
                    return
                if live is None:
                    return
                if (body := parts_of(live, token)) != last:
                    last = body
                    yield f"data: {body}\n\n"
                else:
                    yield ":\n\n"  # fails if the page was closed
                if not live.is_live:
                    return
                time.sleep(LOOK_SECONDS)

        return Response(events(), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
