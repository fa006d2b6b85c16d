"""The peak memory of a bench is its own, not that of the process that starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benches import memory

#: Holds 300 MB, and prints the peak of a bench.
_HUNGRY = """
import sys
from benches import memory
held = bytearray(300 * 2**20)
held[::4096] = b"1" * len(held[::4096])
sys.stdout.write(str(memory.peak_megabytes(["promises", "--studies", "50"])))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the kernel counts otherwise")
def test_memory_of_the_starting_process_is_not_counted() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    own = subprocess.run([sys.executable, "-c", _HUNGRY], env=environment, check=True, stdout=subprocess.PIPE).stdout
    assert 10 < float(own.split()[-1]) < 250


def test_own_peak_grows_with_what_is_held() -> None:
    before = memory.own_peak_megabytes()
    held = bytearray(round(before * 2**20) + 50 * 2**20)
    held[::4096] = b"1" * len(held[::4096])
    assert memory.own_peak_megabytes() > before + 20
