"""The installation of the chaos bench: Label Studio, Redis, ``datagen up``, and a gateway for webhooks between them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from stage import label_studio_server, redis_server
from stage.gateway import Gateway
from stage.ports import free_port
from stage.processes import Processes, StageError, Started, wait_until

#: The parts of ``datagen up``, each with a word of its command line.
OWN_PARTS = {"web": b"gunicorn", "scheduler": b"scheduler", "worker": b"worker"}


class Installation:
    """The running parts. ``environment`` is that of every process of Datagen."""

    def __init__(self, folder: Path, *, workers: int, database_url: str = "", gateway: bool = True) -> None:
        self.folder = folder
        self.processes = Processes(folder / "servers")
        self._redis_port, web_port = free_port(), free_port()
        redis_url = self._start_redis()
        self.label_studio = label_studio_server.start(self.processes, folder / "label-studio")
        self.gateway = Gateway(f"http://127.0.0.1:{web_port}")
        data = folder / "datagen"
        data.mkdir()
        self.environment = {
            "LABEL_STUDIO_URL": self.label_studio.url,
            "LABEL_STUDIO_API_KEY": self.label_studio.token,
            "REDIS_URL": redis_url,
            "HOST": "127.0.0.1",
            "PORT": str(web_port),
            "DATAGEN_PUBLIC_URL": self.gateway.url if gateway else self.gateway.upstream,
            "DATAGEN_DATA_DIR": str(data),
            "DATAGEN_PREVIEW_SIZE": "6",
            "DATAGEN_SHARD_SIZE": "10",
            "OMP_NUM_THREADS": "1",
        }
        if database_url:
            self.environment["DATAGEN_DATABASE_URL"] = database_url
        self._web = f"http://127.0.0.1:{web_port}"
        command = [sys.executable, "-m", "datagen", "up", "--workers", str(workers)]
        self._up = self.processes.start(
            "datagen", command, env=self.environment, cwd=data, ready=self.web_answers, within=90
        )
        self._restarting: list[threading.Thread] = []

    # -- looking

    @property
    def up_pid(self) -> int:
        """The id of the process ``datagen up``, which is the parent of all other processes of Datagen."""
        return self._up.pid

    @property
    def label_studio_pid(self) -> int:
        """The id of Label Studio's process, which is the first of its process group."""
        return self._named(label_studio_server.NAME).pid

    def web_answers(self) -> bool:
        """Whether the web process answers."""
        return _answers(f"{self._web}/health")

    def ready(self) -> bool:
        """Whether every part answers, and the gateway reaches the web process."""
        return _answers(f"{self.gateway.url}/ready")

    # -- killing

    def kill_own(self, part: str, choose: int) -> bool:
        """Kill one process of a part of ``datagen up``, with its descendants; return False if there is none.

        ``choose`` selects one of the part's processes.
        """
        own = self._own(OWN_PARTS[part])
        if not own:
            return False
        _kill_group(own[choose % len(own)])
        return True

    def kill_redis(self) -> None:
        """Kill Redis, which loses its data, and start a new one on the same port."""
        self._kill(self._named("redis"))
        self._start_redis()

    def kill_label_studio(self) -> None:
        """Kill Label Studio, and start it again with the same data, in the background."""
        self._kill(self._named(label_studio_server.NAME))
        again = threading.Thread(target=self._start_label_studio, name="label-studio")
        again.start()
        self._restarting.append(again)

    def label_studio_restarts(self) -> bool:
        """Return whether Label Studio's start is still in progress."""
        return any(restart.is_alive() for restart in self._restarting)

    def without_workers(self) -> None:
        """Stop ``datagen up``, and start only the web process."""
        self.processes.stop(self._up)
        command = [sys.executable, "-m", "datagen", "web"]
        self._up = self.processes.start(
            "web", command, env=self.environment, cwd=self.folder, ready=self.web_answers, within=90
        )

    def recovered(self, within: float) -> None:
        """Wait up to ``within`` seconds until every part runs again."""
        for restart in self._restarting:
            restart.join(timeout=within)
        wait_until(self.ready, within, "The return of every part")

    def close(self) -> None:
        """Stop all parts."""
        for restart in self._restarting:
            restart.join()
        self.processes.stop_all()
        self.gateway.close()

    def _start_redis(self) -> str:
        return redis_server.start(self.processes, self.folder / "redis", port=self._redis_port)

    def _start_label_studio(self) -> None:
        port = urlsplit(self.label_studio.url).port
        label_studio_server.start(self.processes, self.folder / "label-studio", port=port)

    def _named(self, name: str) -> Started:
        return [process for process in self.processes.noted() if process.name == name][-1]

    def _kill(self, started: Started) -> None:
        _kill_group(started.pid)
        self.processes.stop(started)

    def _own(self, word: bytes) -> list[int]:
        """The ids of the processes of ``datagen up`` with this word in their command line, oldest first."""
        ids = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self._up.pid and word in (entry / "cmdline").read_bytes():
                    ids.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
        return sorted(ids)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        raise StageError(f"process {pid} ended by itself before it could be killed") from None


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False
