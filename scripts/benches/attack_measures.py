"""Measurements of the attack bench: answers to webhooks, waits for the database's write lock, memory."""

from __future__ import annotations

import http.client
import json
import sqlite3
import time
from collections.abc import Collection
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from datagen.store.periodic_thread import run_periodically

#: Number of webhooks that may be sent at the same time.
SENDERS = 32
#: Seconds that Label Studio waits for the answer to a webhook.
WEBHOOK_SECONDS = 1.0
#: Seconds between two samples of the write lock, and of the memory.
LOCK_EVERY_S, MEMORY_EVERY_S = 0.05, 0.5
#: Seconds after which the probe gives up an attempt; the lock then counts as held for this time.
LONGEST_WAIT_S = 300.0


@dataclass
class Webhooks:
    """Sends webhooks at a steady rate. The time of an answer is measured from the moment when its webhook was due."""

    address: str
    headers: dict[str, str]
    project_id: int
    task_ids: list[int]
    rate: float
    seconds: float
    seconds_taken: list[float] = field(default_factory=list)
    refused: int = 0

    def send(self) -> Webhooks:
        """Send all webhooks; return this object after the last one was answered or failed."""
        count = int(self.rate * self.seconds)
        begin = time.perf_counter() + 0.2

        def post(number: int) -> None:
            due = begin + number / self.rate
            if (early := due - time.perf_counter()) > 0:
                time.sleep(early)
            connection = http.client.HTTPConnection(self.address, timeout=30)
            try:
                connection.request("POST", "/webhook", self._body(number), self.headers)
                stored = connection.getresponse().status == http.client.CREATED
            except (OSError, http.client.HTTPException):
                stored = False
            finally:
                connection.close()
            if stored:
                self.seconds_taken.append(time.perf_counter() - due)
            else:
                self.refused += 1

        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(post, range(count)))
        return self

    @property
    def sent(self) -> int:
        """The number of webhooks that were sent."""
        return len(self.seconds_taken) + self.refused

    @property
    def answered_in_time(self) -> float:
        """The share of the sent webhooks that were stored and answered within Label Studio's time-out."""
        return sum(taken <= WEBHOOK_SECONDS for taken in self.seconds_taken) / self.sent

    def milliseconds(self, share: float) -> float:
        """Return the time in milliseconds within which ``share`` of the stored webhooks was answered."""
        taken = sorted(self.seconds_taken)
        return round(1000 * taken[int(share * (len(taken) - 1))], 1) if taken else 0.0

    def _body(self, number: int) -> bytes:
        task = self.task_ids[number % len(self.task_ids)]
        body: dict[str, Any] = {
            "action": "ANNOTATION_UPDATED",
            "project": {"id": self.project_id},
            "task": {"id": task},
            "annotation": {"id": number + 1, "task": task, "updated_at": f"event {number} of {time.time_ns()}"},
        }
        return json.dumps(body).encode()


def send_together(*senders: Webhooks) -> list[Webhooks]:
    """Run each sender in a process of its own, and return the senders in the same order.

    Threads of the attacks, and of the other senders, would delay a sender in the same process.
    """
    with ProcessPoolExecutor(len(senders), get_context("spawn")) as pool:
        return list(pool.map(Webhooks.send, senders))


class LockProbe:
    """Measures the longest time that another writer waits for the database (SQLite)."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.longest = 0.0

    def measuring(self) -> AbstractContextManager[None]:
        """Return a context manager that measures until its block ends."""
        return run_periodically(self._measure, LOCK_EVERY_S, "lock probe")

    def _measure(self) -> None:
        began = time.perf_counter()
        connection = sqlite3.connect(self._file, timeout=LONGEST_WAIT_S, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            pass  # locked for longer than the probe waits: the time below says so
        finally:
            connection.close()
        self.longest = max(self.longest, time.perf_counter() - began)


class MemoryWatch:
    """Measures the memory of a process and all its descendants, in MB: the largest sum of their sizes."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_mb = 0.0

    def measuring(self) -> AbstractContextManager[None]:
        """Return a context manager that measures until its block ends."""
        return run_periodically(self._measure, MEMORY_EVERY_S, "memory")

    def _measure(self) -> None:
        self.peak_mb = max(self.peak_mb, sum(map(_resident_mb, descendants(self._pid))))


def descendants(pid: int) -> Collection[int]:
    """Return the ids of a process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    family = {pid}
    grown = True
    while grown:
        children = {child for child, parent in parents.items() if parent in family and child not in family}
        family |= children
        grown = bool(children)
    return family


def _resident_mb(pid: int) -> float:
    """Return a process's proportional set size in MB.

    A page that several processes share counts only once in the sum of their sizes.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass  # it ended while we looked
    return 0.0
