"""Runs ``datagen`` commands in processes that are forked from a process which has already imported the package.

The import takes most of the time of a short command. The first command starts the process from which the others are
forked. This process ends with the tests."""

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


def run_datagen(
    *arguments: str, env: Mapping[str, str], cwd: Path, answer: str = "", umask: int = 0o022, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m datagen`` with these arguments and this environment; return its exit code and output.

    ``answer`` is the whole standard input.

    Raises:
        subprocess.TimeoutExpired: it ran longer than ``timeout`` seconds and was killed.
    """
    command = ["datagen", *arguments]
    with TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdin", "stdout", "stderr")]
        streams[0].write_text(answer)
        process = _FORKS.Process(target=_run, args=(command, dict(env), cwd, umask, streams))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        returncode = process.exitcode
        process.close()
        return subprocess.CompletedProcess(command, returncode, *[stream.read_text() for stream in streams[1:]])


def _run(command: list[str], env: dict[str, str], cwd: Path, umask: int, streams: list[Path]) -> None:
    for number, stream in enumerate(streams):
        file = os.open(stream, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    os.umask(umask)
    for name in [name for name in sys.modules if name.startswith("datagen.cli")]:
        del sys.modules[name]  # its consoles take their width and colours from the environment when it is imported
    # multiprocessing has given it another input
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.argv = command
    runpy.run_module("datagen", run_name="__main__")
