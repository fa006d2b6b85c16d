"""Signs of life: which parts answer, and the figures that operators watch, read from rows and queues when asked.

Figures from rows survive restarts, and are the same whichever process is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import httpx
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError, ResponseError
from rq import Worker, worker_registration
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker
from sqlalchemy import case, func, select
from sqlalchemy.exc import SQLAlchemyError

from datagen.jobs.queues import Queues
from datagen.jobs.worker import WORKER_TTL_SECONDS
from datagen.label_studio.payloads import figure_name
from datagen.store.counters import counts, pruned_events
from datagen.store.database import Database
from datagen.store.rows import BatchRow, InboxRow, OutboxRow, SampleRow, ShardRow, SpecRow, WorkState, now

log = structlog.get_logger()

#: Upper bounds of the histograms, seconds.
BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Label Studio answers its health check at once, or it is not ready for anything.
LABEL_STUDIO_SECONDS = 2.0


def live_workers(queues: Queues) -> list[BaseWorker]:
    """The workers that were heard of within their time; entries that cannot be read are logged and left out.

    Raises:
        redis.exceptions.RedisError: Redis is away.
    """
    moment = datetime.now(UTC)
    alive = []
    for key in worker_registration.get_keys(connection=queues.redis):
        try:
            worker = Worker.find_by_key(key, connection=queues.redis, serializer=JSONSerializer)
        except (ValueError, ResponseError) as nonsense:  # a date, number or type that RQ does not write
            log.warning("worker.unreadable", key=key, reason=str(nonsense))
            continue
        if worker is None or worker.last_heartbeat is None:
            continue
        if (moment - worker.last_heartbeat).total_seconds() < 1.5 * WORKER_TTL_SECONDS:
            alive.append(worker)
    return alive


def readiness(database: Database, queues: Queues, label_studio_url: str) -> dict[str, bool]:
    """Which parts answer: database, Redis, a worker, Label Studio."""
    return {
        "database": _answers(lambda: _ask_database(database), SQLAlchemyError),
        "redis": _answers(lambda: queues.redis.ping(), RedisError),
        "worker": _answers(lambda: live_workers(queues), RedisError),
        "label_studio": _answers(lambda: _ask_label_studio(label_studio_url), httpx.HTTPError),
    }


def _answers(ask: Callable[[], object], refusal: type[Exception]) -> bool:
    try:
        return bool(ask())
    except refusal:
        return False


def _ask_database(database: Database) -> bool:
    with database.read() as session:
        return session.scalar(select(1)) == 1


def _ask_label_studio(url: str) -> bool:
    return httpx.get(f"{url}/health", timeout=LABEL_STUDIO_SECONDS).is_success


class Figures(Collector):
    """Prometheus figures, worked out when scraped."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues

    def collect(self) -> Iterable[Metric]:
        """Every figure; those of a part that is away are left out."""
        for read in (self._events, self._outbox, self._shards, self._images, self._counters):
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
        took = [(handled - received).total_seconds() for received, handled in seconds if handled is not None]
        yield _histogram("datagen_event_seconds", "From webhook to handled, the last 1,000 events.", took)

    def _outbox(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("datagen_outbox", "What Label Studio is to be told.", labels=("kind", "state"))
        with self._database.read() as session:
            rows = session.execute(
                select(OutboxRow.kind, OutboxRow.state, func.count()).group_by(OutboxRow.kind, OutboxRow.state)
            ).all()
        for kind, state, number in rows:
            waiting.add_metric((str(kind), str(state)), number)
        yield waiting

    def _shards(self) -> Iterator[Metric]:
        shards = GaugeMetricFamily("datagen_shards", "Pieces of synthesis.", labels=("state",))
        age = GaugeMetricFamily("datagen_oldest_wait_seconds", "Age of the oldest row that waits.", labels=("door",))
        with self._database.read() as session:
            for state, number in session.execute(select(ShardRow.state, func.count()).group_by(ShardRow.state)).all():
                shards.add_metric((str(state),), number)
            oldest = (
                ("event", select(func.min(InboxRow.due_at)).where(InboxRow.state == WorkState.PENDING)),
                ("outbox", select(func.min(OutboxRow.due_at)).where(OutboxRow.state == WorkState.PENDING)),
                ("shard", select(func.min(ShardRow.due_at)).where(ShardRow.state == WorkState.PENDING)),
            )
            for door, query in oldest:
                since = session.scalar(query)
                age.add_metric((door,), max(0.0, (now() - since).total_seconds()) if since else 0.0)
            took = [
                one
                for one in session.scalars(
                    select(ShardRow.seconds)
                    .where(ShardRow.rendered_at.is_not(None))
                    .order_by(ShardRow.id.desc())
                    .limit(1000)
                )
                if one is not None
            ]
        yield from (shards, age)
        yield _histogram("datagen_shard_seconds", "Synthesizing a shard, the last 1,000.", took)

    def _images(self) -> Iterator[Metric]:
        images = CounterMetricFamily("datagen_images", "Synthesized images.", labels=("engine", "kind"))
        engine = SpecRow.body["engine"].as_string()
        with self._database.read() as session:
            rows = session.execute(
                select(engine, BatchRow.kind, func.count(case((SampleRow.id.is_not(None), 1))))
                .join(BatchRow, BatchRow.id == SampleRow.batch_id)
                .join(SpecRow, SpecRow.id == BatchRow.spec_id)
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
        depth = GaugeMetricFamily("datagen_queue_depth", "Jobs that wait.", labels=("queue",))
        for name, number in self._queues.depths().items():
            depth.add_metric((name,), number)
        yield depth
        yield GaugeMetricFamily("datagen_workers", "Workers alive.", value=len(live_workers(self._queues)))


def _histogram(name: str, what: str, values: list[float]) -> Metric:
    buckets = [(str(bound), float(sum(value <= bound for value in values))) for bound in BUCKETS]
    family = HistogramMetricFamily(name, what)
    family.add_metric((), [*buckets, ("+Inf", float(len(values)))], sum(values))
    return family
