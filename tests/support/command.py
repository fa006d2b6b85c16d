"""``datagen`` commands in processes of their own, forked from a process that has already imported the package.

Importing it takes most of the time of a short command. The first command starts the process that the others are forked
from; it ends with the tests.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["alembic.command", "datagen.cli", __name__])


def datagen(
    *arguments: str, env: Mapping[str, str], cwd: Path, umask: int = 0o022, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m datagen`` with these arguments and this environment, and return its exit code and output.

    Raises:
        subprocess.TimeoutExpired: it was killed after ``timeout`` seconds.
    """
    command = ["datagen", *arguments]
    with TemporaryDirectory() as folder:
        outputs = [Path(folder, "stdout"), Path(folder, "stderr")]
        process = _FORKS.Process(target=_run, args=(command, dict(env), cwd, umask, outputs))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        returncode = process.exitcode
        process.close()
        return subprocess.CompletedProcess(command, returncode, *[output.read_text() for output in outputs])


def _run(command: list[str], env: dict[str, str], cwd: Path, umask: int, outputs: list[Path]) -> None:
    for number, output in enumerate(outputs, start=1):
        file = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    os.umask(umask)
    for name in [name for name in sys.modules if name.startswith("datagen.cli")]:
        del sys.modules[name]  # its consoles take their width and colours from the environment when it is imported
    sys.argv = command
    runpy.run_module("datagen", run_name="__main__")
