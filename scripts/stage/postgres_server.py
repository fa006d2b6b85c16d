"""A PostgreSQL server with a temporary cluster on a free port, for tests and benches.

PostgreSQL refuses to run as root. If this process runs as root, the server runs as the user ``postgres``, which the
system's package created."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stage.ports import free_port
from stage.processes import StageError

#: The system user that the server runs as if this process runs as root.
SYSTEM_USER = "postgres"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server that can be killed and started again. ``url`` contains no database's name."""

    url: str
    _control: tuple[str | Path, ...]
    _log: Path
    _options: str

    def start(self) -> None:
        """Start the server on its existing data."""
        _call([*self._control, "-l", self._log, "-o", self._options, "start"])

    def abort(self) -> None:
        """Kill all processes of the server at once, as in a crash. The next start recovers the data."""
        _call([*self._control, "-m", "immediate", "stop"])


@contextmanager
def running() -> Iterator[str]:
    """Context manager of a running server; it yields the server's URL.

    The URL names no database: ``postgresql://postgres@127.0.0.1:PORT``.
    """
    with cluster() as started:
        yield started.url


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Context manager of a running server. It yields the ``Cluster``, which can be killed and started again.

    No data is synced to the disk, which is fast, and unsuitable for data that must last.

    Raises:
        StageError: there is no PostgreSQL, or it cannot start.
    """
    bin_folder = _bin_folder()
    folder = Path(tempfile.mkdtemp(prefix="datagen-postgres-"))
    as_user: list[str | Path] = []
    if os.geteuid() == 0:
        shutil.chown(folder, SYSTEM_USER)
        as_user = ["runuser", "-u", SYSTEM_USER, "--"]
    data, port = folder / "cluster", free_port()
    try:
        _call([*as_user, bin_folder / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"])
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = (*as_user, bin_folder / "pg_ctl", "-D", data, "-w")
        started = Cluster(f"postgresql://postgres@127.0.0.1:{port}", control, folder / "log", options)
        started.start()
        try:
            yield started
        finally:
            started.abort()
    finally:
        shutil.rmtree(folder)


def _bin_folder() -> Path:
    if path := shutil.which("initdb"):
        return Path(path).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not versions:
        raise StageError("There is no PostgreSQL (initdb); install it (Debian: apt-get install postgresql).")
    return versions[-1].parent


def _call(argv: Sequence[str | Path]) -> None:
    # a file, not a pipe: the server that pg_ctl starts keeps the output open
    with tempfile.TemporaryFile("w+") as output:
        outcome = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", check=False)
        if outcome.returncode != 0:
            output.seek(0)
            raise StageError(f"{' '.join(map(str, argv))} failed: {output.read().strip()}")
