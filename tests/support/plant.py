"""An installation whose parts are processes that tests can kill, with gateways that can change or drop its traffic.

``datagen worker``, ``datagen scheduler``, ``datagen web`` and Redis run as in a user's installation. Each test says
what happens to them: SIGKILL, lost data, lost or repeated requests. Waits and leases are short, through settings that
users have too."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.queue.queues import Queues, connect
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from stage import label_studio_server, redis_server
from stage.gateway import Gateway, untouched
from stage.processes import Processes, Started, wait_until
from studio import Studio, Study, start_web

#: Seconds after which waiting for a condition fails.
WITHIN_S = 60.0
#: Settings of this installation in seconds: lease, interval of recovery scans, interval of polls of Label Studio.
LEASE_S, SWEEP_S, RECONCILE_S = 3, 1, 2


@dataclass(kw_only=True)
class Plant(Studio):
    """The parts of the installation, by name: ``web``, ``redis``, ``scheduler``, ``worker-1`` …"""

    processes: Processes
    folder: Path
    #: gateway between Datagen's processes and Label Studio
    to_label_studio: Gateway
    #: gateway between Label Studio and the web process
    to_web: Gateway
    #: whether Label Studio was started by the test suite, so that it may be killed
    owns_label_studio: bool
    running: dict[str, Started] = field(default_factory=dict)

    def start(self, *parts: str) -> None:
        """Start parts, and return when they are ready."""
        for part in parts:
            self.running[part] = self._start(part)

    def kill(self, *parts: str) -> None:
        """Kill parts with SIGKILL, and return when they have ended."""
        for part in parts:
            started = self.running.pop(part)
            if self.processes.is_alive(started):
                os.killpg(started.pid, signal.SIGKILL)
            self.processes.stop(started)

    def kill_all(self) -> None:
        """Kill all parts of Datagen at once; Redis loses its data."""
        self.kill(*self.running)

    def ensure(self, *parts: str) -> None:
        """Start and stop parts until exactly these run."""
        for part in [*self.running]:
            if part not in parts or not self.processes.is_alive(self.running[part]):
                self.kill(part)
        self.start(*(part for part in parts if part not in self.running))

    def ensure_all(self) -> None:
        """Start and stop parts until Redis, the web process, the scheduler and two workers run, and nothing else."""
        self.ensure("redis", "web", "scheduler", "worker-1", "worker-2")

    def until(self, condition: Callable[[], bool], event: str, within: float = WITHIN_S) -> None:
        """Wait until ``condition()`` is true; ``event`` names it if it takes longer than ``within`` seconds."""
        wait_until(condition, within, event, every=0.05)

    def until_settled(self, within: float = WITHIN_S) -> None:
        """Wait until the running workers have nothing left to do."""
        self.until(lambda: not self.unfinished(), "The end of all work", within)

    def undisturbed(self) -> None:
        """Make both gateways forward all traffic again."""
        self.to_label_studio.meddler = self.to_web.meddler = untouched

    def kill_label_studio(self) -> None:
        """Kill Label Studio and its descendants."""
        [started] = self._label_studios()
        os.killpg(started.pid, signal.SIGKILL)
        self.processes.stop(started)

    def ensure_label_studio(self) -> None:
        """Start the suite's Label Studio again with its data and on its port, if it does not run."""
        if not self.owns_label_studio or any(map(self.processes.is_alive, self._label_studios())):
            return
        folder, port = self.server.kept_token.parent, urlsplit(self.server.url).port
        label_studio_server.start(self.processes, folder, port=port, token=self.server.token)

    def _label_studios(self) -> list[Started]:
        return [process for process in self.processes.noted() if process.name == label_studio_server.NAME]

    def _start(self, part: str) -> Started:
        if part == "web":
            return start_web(self.processes, self.environment, self.folder)
        if part == "redis":
            shutil.rmtree(self.folder / "redis", ignore_errors=True)
            url = urlsplit(self.settings.redis_url)
            redis_server.start(self.processes, self.folder / "redis", port=url.port, password=url.password)
            return [process for process in self.processes.noted() if process.name == "redis"][-1]
        argv = [sys.executable, "-m", "datagen", part.partition("-")[0]]
        mark = {"worker": self._workers, "scheduler": self._schedulers}[part.partition("-")[0]]
        before = mark()
        return self.processes.start(
            part, argv, env=self.environment, cwd=self.folder, ready=lambda: bool(mark() - before), within=WITHIN_S
        )

    def _workers(self) -> set[bytes]:
        return set(self.queues.redis.smembers("rq:workers"))

    def _schedulers(self) -> set[bytes]:
        return set(self.queues.redis.zrange("rq:cron_schedulers", 0, -1))


# -- what must hold, whatever happened


def shards(study: Study, batch: BatchRow) -> list[ShardRow]:
    """Return the shards of a batch in order."""
    with study.studio.rows() as session:
        return list(session.scalars(select(ShardRow).where(ShardRow.batch_id == batch.id).order_by(ShardRow.start)))


def approved(study: Study) -> BatchRow:
    """Return the newest run."""
    return study.batches(BatchKind.RUN)[-1]


def assert_nothing_twice_nothing_missing(study: Study) -> None:
    """Check that every sample is one row, one task with its label, one stored picture and one stored mask."""
    for project_kind, kind in ((ProjectKind.PREVIEWS, BatchKind.ROUND), (ProjectKind.DATASET, BatchKind.RUN)):
        tasks = Counter(task.data["datagen_key"] for task in study.tasks(project_kind))
        samples: list[SampleRow] = []
        for batch in study.batches(kind):
            if str(batch.state) == "done":
                rows = study.samples_of(batch)
                assert [row.index for row in rows] == list(range(batch.first, batch.first + batch.count))
                samples += rows
        assert tasks == Counter(row.key for row in samples), f"twins or holes at {project_kind}"
        ids = {task.data["datagen_key"]: task.id for task in study.tasks(project_kind)}
        for row in samples:
            assert row.task_id == ids[row.key]
            for picture in ("image", "mask"):
                study.studio.services.images.get(row.body[picture]["digest"])  # raises if damaged
    decisions = Counter(task.data["datagen_key"] for task in study.decision_tasks())
    assert set(decisions.values()) <= {1}, "twin decision tasks"
    assert len(decisions) == len(study.points())


def ready(plant: Plant) -> dict[str, bool]:
    """Return whether each part is ready, as the web process reports it."""
    parts: dict[str, bool] = httpx.get(f"{plant.to_web.url}/ready", timeout=10).json()["parts"]
    return parts


def queues_of(redis_url: str) -> Queues:
    """Return the queues of a Redis server, which a test can read."""
    return Queues(connect(redis_url))
