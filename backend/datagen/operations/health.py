"""Health and metrics: the readiness of each part, and Prometheus metrics computed from rows and queues on request.

Metrics from rows survive restarts, and every process returns the same values.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import product

import httpx
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from sqlalchemy import case, func, select
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import DatagenError
from datagen.label_studio.api.webhook_payload import figure_name
from datagen.queue import heartbeats
from datagen.queue.jobs import EVENTS, HANDOVERS, leased_tables
from datagen.queue.live_workers import live_workers
from datagen.queue.queues import Queues
from datagen.store.blob_store import BlobStore
from datagen.store.bounded import BoundedCalls, CallNotStarted
from datagen.store.counters import counts, pruned_events
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, Instant, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.messages import InboxRow, OutboxRow

log = structlog.get_logger()

#: Upper bounds of the histograms, seconds.
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Timeout of the request to Label Studio's health check, seconds. A server that is ready answers at once.
LABEL_STUDIO_SECONDS = 2.0

#: Timeout of the check of one part, seconds. All parts are checked at the same time.
PART_SECONDS = 3.0
#: Maximum number of checks per part that timed out and have not returned.
MAX_CHECKS = 2

_CALLS = defaultdict[str, BoundedCalls](lambda: BoundedCalls(MAX_CHECKS, "readiness"))

#: The errors that the check of an unavailable part raises.
_CHECK_ERRORS = (SQLAlchemyError, RedisError, httpx.HTTPError, DatagenError, OSError, CallNotStarted)


def label_studio_health(url: str) -> httpx.Client:
    """Return a client for Label Studio's health check. Use one client for all checks, because creating it is slow.

    The client keeps no connection open between checks. If the server closed such a connection just before a check, it
    would count as unavailable.
    """
    return httpx.Client(base_url=url, timeout=LABEL_STUDIO_SECONDS, limits=httpx.Limits(max_keepalive_connections=0))


def readiness(
    database: Database, queues: Queues, label_studio: httpx.Client, images: BlobStore, *, downloads: bool = False
) -> dict[str, bool]:
    """Return part → whether it works: database, schema, Redis, Label Studio, image store, a worker, a scheduler.

    With ``downloads``, the worker that makes downloads and pushes is a part, too. The pages show it; events and reviews
    do not need it.

    Each part is checked in its own thread for at most ``PART_SECONDS``, even if a check hangs. A part whose
    thread cannot be started counts as one that does not work.
    """
    checks: dict[str, Callable[[], object]] = {
        "database": partial(_check_database, database),
        "schema": partial(_check_schema, database),
        "redis": lambda: queues.redis.ping(),
        "label_studio": lambda: label_studio.get("/health").is_success,
        "image_store": partial(_check_image_store, images),
        "worker": lambda: any(EVENTS in worker.queues for worker in live_workers(queues)),
        "scheduler": lambda: heartbeats.alive(queues.redis, heartbeats.Kind.SCHEDULER),
    }
    if downloads:
        checks["worker for downloads"] = lambda: any(HANDOVERS in worker.queues for worker in live_workers(queues))
    results = dict.fromkeys(checks, False)

    def check(part: str) -> None:
        try:
            results[part] = bool(_CALLS[part].call(checks[part], PART_SECONDS))
        except _CHECK_ERRORS as error:
            log.info("part.not_ready", part=part, reason=type(error).__name__)

    threads = []
    for part in checks:
        thread = threading.Thread(target=check, args=(part,), daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # this machine can start no more threads
            log.warning("part.not_checked", part=part, reason=str(error))
            continue
        threads.append(thread)
    for thread in threads:
        thread.join()
    return results


def _check_database(database: Database) -> bool:
    with database.read() as session:
        return session.scalar(select(1)) == 1


def _check_schema(database: Database) -> bool:
    database.check_schema()
    return True


def _check_image_store(images: BlobStore) -> bool:
    images.check()
    return True


class MetricsCollector(Collector):
    """Prometheus metrics, computed at each scrape."""

    def __init__(self, database: Database, queues: Queues, parts: Callable[[], Mapping[str, bool]]) -> None:
        """Collect from rows, from queues, and from the result of ``parts``.

        ``parts`` returns part → whether it works (see ``readiness``). It is called at each scrape.
        """
        self._database = database
        self._queues = queues
        self._parts = parts

    def collect(self) -> Iterable[Metric]:
        """Yield every metric; those of an unavailable part are omitted."""
        up = GaugeMetricFamily("datagen_up", "1 if a part is ready, else 0.", labels=("part",))
        for part, works in self._parts().items():
            up.add_metric((part,), works)
        yield up
        for read in (self._events, self._outbox, self._shards, self._rows, self._images, self._counters):
            try:
                yield from list(read())
            except SQLAlchemyError:
                continue
        try:
            yield from list(self._redis())
        except RedisError:
            return

    def _events(self) -> Iterator[Metric]:
        events = CounterMetricFamily("datagen_events", "Events from Label Studio.", labels=("action", "outcome"))
        with self._database.read() as session:
            rows = session.execute(
                select(InboxRow.action, InboxRow.state, func.count()).group_by(InboxRow.action, InboxRow.state)
            ).all()
            seconds = session.execute(
                select(InboxRow.received_at, InboxRow.handled_at)
                .where(InboxRow.handled_at.is_not(None))
                .order_by(InboxRow.id.desc())
                .limit(1000)
            ).all()
        totals = Counter(pruned_events(self._database))
        for action, state, number in rows:
            totals[figure_name(action), str(state)] += number
        for labels, number in totals.items():
            events.add_metric(labels, number)
        yield events
        durations = [(handled - received).total_seconds() for received, handled in seconds if handled is not None]
        yield _histogram("datagen_event_seconds", "From webhook to handled, the last 1,000 events.", durations)

    def _outbox(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("datagen_outbox", "Outbox rows by kind and state.", labels=("kind", "state"))
        with self._database.read() as session:
            rows = session.execute(
                select(OutboxRow.kind, OutboxRow.state, func.count()).group_by(OutboxRow.kind, OutboxRow.state)
            ).all()
        for kind, state, number in rows:
            waiting.add_metric((str(kind), str(state)), number)
        yield waiting

    def _shards(self) -> Iterator[Metric]:
        shards = GaugeMetricFamily("datagen_shards", "Shards by state.", labels=("state",))
        age = GaugeMetricFamily("datagen_oldest_wait_seconds", "Age of the oldest row that waits.", labels=("kind",))
        with self._database.read() as session:
            for state, number in session.execute(select(ShardRow.state, func.count()).group_by(ShardRow.state)).all():
                shards.add_metric((str(state),), number)
            for job_kind, kind in leased_tables().items():
                waits_since = func.min(func.coalesce(kind.waiting_since, kind.due_at), type_=Instant())
                since = session.scalar(select(waits_since).where(kind.state == WorkState.PENDING))
                age.add_metric((job_kind,), max(0.0, (now() - since).total_seconds()) if since else 0.0)
            durations = [
                seconds
                for seconds in session.scalars(
                    select(ShardRow.seconds)
                    .where(ShardRow.rendered_at.is_not(None))
                    .order_by(ShardRow.id.desc())
                    .limit(1000)
                )
                if seconds is not None
            ]
        yield from (shards, age)
        yield _histogram("datagen_shard_seconds", "Synthesizing a shard, the last 1,000.", durations)

    def _rows(self) -> Iterator[Metric]:
        """Yield metrics for operators: failed rows, rows that wait for an outage, and states of rounds and runs."""
        failed = GaugeMetricFamily("datagen_failed", "Failed rows; see “datagen retry”.", labels=("kind",))
        waiting = GaugeMetricFamily("datagen_waiting", "Rows that wait for an unavailable part.", labels=("kind",))
        batches = GaugeMetricFamily("datagen_batches", "Preview rounds and runs.", labels=("kind", "state"))
        with self._database.read() as session:
            for job_kind, kind in leased_tables().items():
                number = select(func.count()).select_from(kind)
                failed.add_metric((job_kind,), session.scalar(number.where(kind.state == WorkState.FAILED)) or 0)
                waits = number.where(kind.state == WorkState.PENDING, kind.waiting_since.is_not(None))
                waiting.add_metric((job_kind,), session.scalar(waits) or 0)
            rows = session.execute(
                select(BatchRow.kind, BatchRow.state, func.count()).group_by(BatchRow.kind, BatchRow.state)
            ).all()
        numbers = {(kind, state): number for kind, state, number in rows}
        for labels in product(BatchKind, WorkState):  # an alert needs zeros too
            batches.add_metric(tuple(map(str, labels)), numbers.get(labels, 0))
        yield from (failed, waiting, batches)

    def _images(self) -> Iterator[Metric]:
        images = CounterMetricFamily("datagen_images", "Synthesized images.", labels=("engine", "kind"))
        engine = SpecRow.body["engine"].as_string()
        with self._database.read() as session:
            rows = session.execute(
                select(engine, BatchRow.kind, func.count(case((SampleRow.id.is_not(None), 1))))
                .join(BatchRow, BatchRow.id == SampleRow.batch_id)
                .join(SpecRow, SpecRow.id == BatchRow.spec_id)
                .where(BatchRow.kind != BatchKind.SPOT)  # copies
                .group_by(engine, BatchRow.kind)
            ).all()
        for name, kind, number in rows:
            images.add_metric((str(name), str(kind)), number)
        yield images

    def _counters(self) -> Iterator[Metric]:
        for name, value in counts(self._database).items():
            counter = CounterMetricFamily(f"datagen_{name}", "Counted since the database was made.")
            counter.add_metric((), value)
            yield counter

    def _redis(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("datagen_queue_depth", "Jobs waiting in a queue.", labels=("queue",))
        for name, number in self._queues.depths().items():
            depth.add_metric((name,), number)
        yield depth
        yield GaugeMetricFamily("datagen_workers", "Workers alive.", value=len(live_workers(self._queues)))
        schedulers = heartbeats.alive(self._queues.redis, heartbeats.Kind.SCHEDULER)
        yield GaugeMetricFamily("datagen_schedulers", "Schedulers alive.", value=len(schedulers))


def _histogram(name: str, description: str, values: list[float]) -> Metric:
    buckets = [(str(bound), float(sum(value <= bound for value in values))) for bound in BUCKETS]
    family = HistogramMetricFamily(name, description)
    family.add_metric((), [*buckets, ("+Inf", float(len(values)))], sum(values))
    return family
