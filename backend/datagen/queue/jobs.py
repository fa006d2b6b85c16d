"""The registry of jobs: the function, queue and time limit of each job, and what causes it (a due row or an interval).

Enqueueing, the workers' allow-list, recovery, the scheduler and the metrics all read this registry. A job is a function
of ``entrypoints.rq_tasks`` and one entry here; RQ calls the function by its name, and this module does not import it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datagen.queue import due_rows
from datagen.store.tables.base import LeasedRow
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.handovers import HandoverRow
from datagen.store.tables.inputs import InputReadingRow, ProposalMakingRow
from datagen.store.tables.messages import InboxRow, OutboxRow
from datagen.store.tables.notifications import DeliveryRow
from datagen.workflow.services import JobKind

#: Names of the queues, the most urgent first. A worker takes an event before a shard.
#:
#: People wait for the jobs of the first three: an event, the publication of a decision or of samples, and the shard of
#: a preview round, an audit or a run's first images. Notifications, which may wait for a slow receiver, come after
#: them, and so do the reading of inputs and changes of existing tasks, which take many requests to Label Studio: an
#: approval closes every review task. The further shards of runs and proposals may take hours in all, in shards of
#: seconds, so upkeep comes before them. One download or push may take hours without a break.
EVENTS, PUBLISHING, PREVIEWS = "datagen-events", "datagen-publishing", "datagen-previews"
NOTIFICATIONS, UPKEEP, SYNTHESIS = "datagen-notifications", "datagen-upkeep", "datagen-synthesis"
HANDOVERS = "datagen-handovers"
ALL_QUEUES = (EVENTS, PUBLISHING, PREVIEWS, NOTIFICATIONS, UPKEEP, SYNTHESIS, HANDOVERS)
#: The queues that a worker serves by default. Downloads and pushes have workers of their own: in a queue after the
#: others, one would still keep all events waiting from its beginning to its end.
WORKER_QUEUES = tuple(name for name in ALL_QUEUES if name != HANDOVERS)
#: Name of the queue that only workers with a GPU serve. They serve no other queue, so that their loaded model is
#: always ready.
GPU = "datagen-gpu"

_MODULE = "datagen.entrypoints.rq_tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """A function that workers run, with its queue and its time limit."""

    #: name of the function in ``entrypoints.rq_tasks``
    function: str
    queue: str
    timeout_seconds: int

    @property
    def function_name(self) -> str:
        """The full name of the function, by which RQ imports it."""
        return f"{_MODULE}.{self.function}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowJob(_Job):
    """A job that works on one row; its only argument is the row's id."""

    #: the query for the due rows. Recovery enqueues the job for them, because a job is lost if Redis is emptied or its
    #: worker is killed
    due: due_rows.DueRows
    #: the table of the row that the job leases
    table: type[LeasedRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicJob(_Job):
    """A job that the scheduler enqueues at intervals; it has no argument."""

    #: name of the setting with the interval, in seconds
    interval_setting: str


ROW_JOBS: Mapping[JobKind, RowJob] = {
    JobKind.EVENT: RowJob(
        function="handle_event", queue=EVENTS, timeout_seconds=300, due=due_rows.leased(InboxRow), table=InboxRow
    ),
    JobKind.INPUTS: RowJob(
        function="refresh_inputs",
        queue=UPKEEP,
        timeout_seconds=900,
        due=due_rows.leased(InputReadingRow),
        table=InputReadingRow,
    ),
    JobKind.PROPOSALS: RowJob(
        function="propose",
        queue=SYNTHESIS,
        timeout_seconds=900,
        due=due_rows.leased(ProposalMakingRow),
        table=ProposalMakingRow,
    ),
    JobKind.OUTBOX: RowJob(
        function="publish_outbox_row",
        queue=PUBLISHING,
        timeout_seconds=900,
        due=due_rows.outbox(JobKind.OUTBOX),
        table=OutboxRow,
    ),
    JobKind.UPKEEP: RowJob(
        function="publish_outbox_row",
        queue=UPKEEP,
        timeout_seconds=900,
        due=due_rows.outbox(JobKind.UPKEEP),
        table=OutboxRow,
    ),
    JobKind.NOTIFICATION: RowJob(
        function="deliver_notification",
        queue=NOTIFICATIONS,  # after publications, which must not wait for a slow receiver
        timeout_seconds=300,
        due=due_rows.leased(DeliveryRow),
        table=DeliveryRow,
    ),
    JobKind.SHARD: RowJob(
        function="render",
        queue=SYNTHESIS,
        timeout_seconds=3600,
        due=due_rows.shards(JobKind.SHARD),
        table=ShardRow,
    ),
    JobKind.PREVIEW_SHARD: RowJob(
        function="render",
        queue=PREVIEWS,
        timeout_seconds=3600,
        due=due_rows.shards(JobKind.PREVIEW_SHARD),
        table=ShardRow,
    ),
    JobKind.HANDOVER: RowJob(
        function="hand_over",
        queue=HANDOVERS,
        # 100,000 images of one megabyte take an hour
        timeout_seconds=24 * 3600,
        due=due_rows.leased(HandoverRow),
        table=HandoverRow,
    ),
    JobKind.GPU_SHARD: RowJob(
        function="render",
        queue=GPU,
        # fitting a model may come first, and a CPU takes minutes per picture; the watchdog ends a process that hangs
        timeout_seconds=7 * 24 * 3600,
        due=due_rows.shards(JobKind.GPU_SHARD),
        table=ShardRow,
    ),
}

PERIODIC_JOBS = (
    PeriodicJob(function="sweep", queue=EVENTS, timeout_seconds=300, interval_setting="sweep_seconds"),
    PeriodicJob(function="reconcile", queue=UPKEEP, timeout_seconds=300, interval_setting="reconcile_seconds"),
)

#: The functions that a job may call, by their names in Redis.
FUNCTION_NAMES = frozenset(job.function_name for job in (*ROW_JOBS.values(), *PERIODIC_JOBS))


def leased_tables() -> dict[str, type[LeasedRow]]:
    """Return job kind → the table that it leases. Each table occurs once, with the first of its job kinds."""
    tables: dict[type[LeasedRow], str] = {}
    for kind, job in ROW_JOBS.items():
        tables.setdefault(job.table, str(kind))
    return {kind: table for table, kind in tables.items()}
