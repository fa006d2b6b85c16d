"""A process that hangs is ended, with its stacks, if a worker asked for it; no other process is."""

from __future__ import annotations

import subprocess
import sys

HANG = (
    "import threading; from datagen.synthesis.diffusion.runtime.watchdog import set_limit, watched\n"
    "set_limit({limit})\n"
    "with watched():\n    pass\n"
    "with watched():\n    threading.Event().wait(float({seconds}))\nprint('went on')"
)


def run(seconds, limit):
    code = HANG.format(seconds=seconds, limit=limit)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_hanging_worker_is_ended_with_its_stacks():
    ended = run(30, limit=0.5)
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert "in wait" in ended.stderr


def test_what_is_done_in_time_goes_on():
    assert run(0, limit=20).stdout == "went on\n"


def test_without_a_limit_nothing_is_watched():
    assert run(0.1, limit=0).stdout == "went on\n"
