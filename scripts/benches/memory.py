"""Peak memory of a bench, measured by running it in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence


def peak_megabytes(arguments: Sequence[str]) -> float:
    """Return the peak resident size in MB of ``python -m benches`` with these arguments, as the kernel counted it.

    Raises:
        subprocess.CalledProcessError: the bench failed.
    """
    command = [sys.executable, "-m", "benches", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    # kilobytes on Linux, bytes on macOS
    return usage.ru_maxrss / (1024.0 if sys.platform != "darwin" else 1024.0**2)
