"""All real parts of one installation: Redis, Label Studio, and ``datagen up`` with its web process and workers."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from stage import label_studio_server, redis_server
from stage.label_studio_server import LabelStudio, kept_secret
from stage.ports import free_port, is_open
from stage.processes import Processes, StageError
from stage.progress import Progress

#: The ``datagen`` command of the environment that this process runs in.
DATAGEN = (sys.executable, "-m", "datagen")
#: Name of the data folder in the installation's folder.
DATA = "datagen"
#: The steps of a start, with their duration in seconds on two cores at the first start.
STEPS = {"Starting Redis": 1.0, "Starting Label Studio": 40.0, "Starting Datagen": 5.0}


@dataclass(frozen=True, slots=True)
class Servers:
    """A running installation: its Label Studio, its settings, and an environment in which ``datagen`` has them."""

    label_studio: LabelStudio
    settings: Mapping[str, str]
    environment: Mapping[str, str]
    folder: Path

    def datagen(self, *arguments: str) -> str:
        """Run the ``datagen`` command and return its output.

        Raises:
            StageError: its exit code was not 0; the text contains what it wrote to stderr.
        """
        ended = subprocess.run(
            [*DATAGEN, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=dict(self.environment),
            cwd=self.folder,
            check=False,
        )
        if ended.returncode != 0:
            raise StageError(f"datagen {' '.join(arguments)} failed: {ended.stderr.strip() or ended.stdout.strip()}")
        return ended.stdout


def start_all(processes: Processes, folder: Path, inherited: Mapping[str, str], progress: Progress) -> Servers:
    """Start all servers with their data in ``folder``; a later start with the same folder continues with these data.

    ``inherited`` is the environment that the servers' environment is based on. A start uses the ports of the last one
    if they are free, because links to images contain them.
    """
    data = folder / DATA
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    ports = _ports(folder / "ports.json")
    with progress.step("Starting Redis"):
        redis_url = redis_server.start(processes, folder / "redis", port=ports["redis"], keep=True)
    with progress.step("Starting Label Studio"):
        label_studio = label_studio_server.start(processes, folder / "label-studio", port=ports["label_studio"])
    own = settings(folder, label_studio, redis_url, ports["web"])
    login = (own["BASIC_AUTH_USER"], own["BASIC_AUTH_PASS"])
    with progress.step("Starting Datagen"):
        processes.start(
            "datagen",
            [*DATAGEN, "up"],
            env=own,
            cwd=data,
            ready=lambda: _is_up(f"http://127.0.0.1:{ports['web']}/health", login),
            within=90,
        )
    return Servers(label_studio, own, {**inherited, **own}, data)


def settings(folder: Path, label_studio: LabelStudio, redis_url: str, web_port: int) -> dict[str, str]:
    """The settings of the installation in ``folder``, as environment variables. Its password is that of the last start.

    Args:
        folder: The folder of the installation.
        label_studio: Its Label Studio.
        redis_url: The URL of its queue, with user and password.
        web_port: The port of its web process.
    """
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "REDIS_URL": redis_url,
        "HOST": "127.0.0.1",
        "PORT": str(web_port),
        "DATAGEN_DATA_DIR": str(folder / DATA),
        "BASIC_AUTH_USER": "datagen",
        "BASIC_AUTH_PASS": kept_secret(folder / "basic_auth_pass", secrets.token_urlsafe(16)),
        "DATAGEN_PREVIEW_SIZE": "20",
    }


def _ports(kept: Path) -> dict[str, int]:
    before = json.loads(kept.read_text()) if kept.exists() else {}
    ports = {
        part: port if (port := before.get(part)) is not None and not is_open(port) else free_port()
        for part in ("redis", "label_studio", "web")
    }
    kept.write_text(json.dumps(ports))
    return ports


def _is_up(url: str, login: tuple[str, str]) -> bool:
    try:
        return httpx.get(url, auth=login, timeout=5).is_success
    except httpx.TransportError:
        return False
