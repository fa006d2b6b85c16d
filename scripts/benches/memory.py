"""Peak memory of a bench, measured by running it in a process of its own.

The kernel's count for a child process (``wait4``) begins with the memory of the process that started it. Therefore the
bench runs in ``python -m benches.memory``, which states its own peak.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.__main__ import main

_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_megabytes(arguments: Sequence[str]) -> float:
    """Return the peak resident size in MB of ``python -m benches`` with these arguments, as the kernel counted it.

    Raises:
        subprocess.CalledProcessError: the bench failed.
    """
    command = [sys.executable, "-m", "benches.memory", *arguments]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def own_peak_megabytes() -> float:
    """Return the peak resident size of this process in MB."""
    if _STATUS.is_file() and (match := _PEAK.search(_STATUS.read_text())):
        return int(match[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # bytes on macOS


def _run() -> int:
    """Run a bench without its output, and print the peak of this process; return the bench's exit code."""
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        code = main()
    print(own_peak_megabytes())
    return code


if __name__ == "__main__":
    sys.exit(_run())
