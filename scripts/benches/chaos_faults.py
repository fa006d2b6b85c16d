"""Faults of the chaos bench, drawn from a seed: killed parts, and lost, repeated and delayed webhooks."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from benches.chaos_installation import Installation
from stage.gateway import Answer, Forward, Passing
from stage.processes import StageError
from stage.progress import print_line

#: Shares of the webhooks that are lost, repeated and delayed.
LOST, DOUBLED, LATE = 0.15, 0.15, 0.10
#: Maximum delay of a webhook in seconds.
LATEST_S = 20.0
#: The parts that are killed, with the relative frequency of each.
KILLS = {"worker": 40, "web": 25, "redis": 15, "scheduler": 10, "label studio": 10}
#: Range of the seconds between two kills: at least three kills happen in a minute.
PAUSE_S = (8.0, 18.0)


class Webhooks:
    """The meddler of the gateway between Label Studio and the web process. It also counts requests."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 -- a seed makes it repeatable
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def __call__(self, passing: Passing, forward: Forward) -> Answer | None:
        """Choose at random what happens to one request, and return the response."""
        if passing.path != "/webhook":
            return forward()
        with self._lock:
            fate = self._random.random()
            late_by = self._random.uniform(1.0, LATEST_S)
            self.counts["webhooks"] += 1
        if fate < LOST:
            self._count("dropped")
            return None
        if fate < LOST + DOUBLED:
            self._count("doubled")
            forward()
        elif fate < LOST + DOUBLED + LATE:
            self._count("late")
            threading.Timer(late_by, forward).start()
            return Answer(200)
        return forward()

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.counts[outcome] += 1


class Killer(threading.Thread):
    """Kills one part after another at intervals until it is stopped. ``on_kill`` is called before each kill."""

    def __init__(self, installation: Installation, seed: int, on_kill: Callable[[str], None]) -> None:
        super().__init__(name="killer")
        self._at, self._on_kill = installation, on_kill
        self._random = random.Random(seed + 1)  # noqa: S311
        self._over = threading.Event()
        self.kills: Counter[str] = Counter()

    def stop(self) -> None:
        """Stop the kills."""
        self._over.set()
        self.join()

    def run(self) -> None:
        """Kill a part and pause, in turn."""
        while not self._over.wait(self._random.uniform(*PAUSE_S)):
            part = self._random.choices([*KILLS], [*KILLS.values()])[0]
            if part == "label studio" and self._at.label_studio_restarts():
                part = "worker"
            began = time.monotonic()
            try:
                self._on_kill(part)
                if self._kill(part):
                    self.kills[part] += 1
                    print_line(f"killed {part} (took {time.monotonic() - began:.1f} s); {self.kills.total()} so far")
            except StageError as error:
                print_line(f"not killed: {error}")

    def _kill(self, part: str) -> bool:
        if part == "redis":
            self._at.kill_redis()
        elif part == "label studio":
            self._at.kill_label_studio()
        else:
            return self._at.kill_own(part, self._random.randrange(8))
        return True
