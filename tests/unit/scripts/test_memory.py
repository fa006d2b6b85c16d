"""The peak memory of a bench is its own, not that of the process that starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Holds 300 MB, and prints the peak of a bench.
_HUNGRY = """
import sys
from benches import memory
held = bytearray(300 * 2**20)
held[::4096] = b"1" * len(held[::4096])
sys.stdout.write(str(memory.peak_megabytes(["promises", "--studies", "50"])))
"""


#: Prints how far its peak grows with 100 MB that it holds; the memory that starting took may be free by then.
_HOLDING = """
import sys
from benches import memory
before = memory.own_peak_megabytes()
held = bytearray(100 * 2**20)
held[::4096] = b"1" * len(held[::4096])
sys.stdout.write(str(memory.own_peak_megabytes() - before))
"""


def _printed(program: str) -> float:
    """The number that a program prints in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program]
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout.split()[-1])


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the kernel counts otherwise")
def test_memory_of_the_starting_process_is_not_counted() -> None:
    assert 10 < _printed(_HUNGRY) < 250


def test_own_peak_grows_with_what_is_held() -> None:
    """In a process of its own, whose peak is small: what is held must be more."""
    assert _printed(_HOLDING) > 80
