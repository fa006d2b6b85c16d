"""A process that hangs is ended, with its stacks, if a worker asked for it; no other process is."""

from __future__ import annotations

import os
import subprocess
import sys

HANG = (
    "import threading; from datagen.synthesis.diffusion.runtime.watchdog import watched\n"
    "with watched():\n    pass\n"
    "with watched():\n    threading.Event().wait(float({seconds}))\nprint('went on')"
)


def run(seconds, **environment):
    code = HANG.format(seconds=seconds)
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_a_hanging_worker_is_ended_with_its_stacks():
    ended = run(30, DATAGEN_HANG_SECONDS="0.5")
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "in wait" in ended.stderr


def test_what_is_done_in_time_goes_on():
    assert run(0, DATAGEN_HANG_SECONDS="20").stdout == "went on\n"


def test_without_the_variable_nothing_is_watched():
    assert run(0.1).stdout == "went on\n"
