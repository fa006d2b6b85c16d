"""Progress lines on stderr, with the step and the estimated time left; stdout is only for the result."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

#: Seconds between two lines of one step if the output is not a terminal.
LINE_EVERY_S = 10.0


class Progress:
    """A plan of steps, with the expected seconds of each: as measured at the last run, or else as planned."""

    def __init__(self, plan: Mapping[str, float], kept: Path) -> None:
        """Create a plan.

        Args:
            plan: The planned seconds of each step, by its name.
            kept: The file that stores the measured seconds.
        """
        self._kept = kept
        self._seconds: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
        self._expected = {name: self._seconds.get(name, planned) for name, planned in plan.items()}
        self._steps = list(plan)
        self._begun = 0.0
        self._step = ""
        self._printed_at = 0.0

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Context manager that carries out one step of the plan and measures it."""
        self._step, self._begun, self._printed_at = name, time.monotonic(), 0.0
        self._show("")
        yield
        spent = time.monotonic() - self._begun
        self._end_line()
        self._seconds[name] = round(spent, 2)
        draft = self._kept.with_suffix(".draft")
        draft.write_text(json.dumps(self._seconds))
        draft.replace(self._kept)

    def done(self, count: int, of: int, units: str = "") -> None:
        """Print that ``count`` of ``of`` units of the step are done; it may be called at any rate.

        ``units`` names them.
        """
        moment = time.monotonic()
        if sys.stderr.isatty() or moment - max(self._printed_at, self._begun) > LINE_EVERY_S:
            self._show(f": {count} of {of}{units and f' {units}'}")

    def _show(self, detail: str) -> None:
        self._printed_at = time.monotonic()
        number = self._steps.index(self._step) + 1
        line = f"[{number}/{len(self._steps)}] {self._step}{detail} · {_rough(self._left())} left"
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{line}")
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def _left(self) -> float:
        now = self._steps.index(self._step)
        this = max(self._expected[self._step] - (time.monotonic() - self._begun), 0.0)
        return this + sum(self._expected[name] for name in self._steps[now + 1 :])

    def _end_line(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\n")
            sys.stderr.flush()


def print_line(line: str) -> None:
    """Print a line to the terminal."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _rough(seconds: float) -> str:
    if seconds < 5:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds / 5) * 5} s"
    return f"about {round(seconds / 60)} min"
