"""An installation for the browser tests: `datagen up` on its own data, beside the suite's Label Studio and Redis."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.client import LabelStudio as Client
from datagen.settings import Settings
from datagen.store.database import Database
from e2e_study import ROUND, Study
from stage import plates
from stage.label_studio_server import LabelStudio
from stage.person import Person
from stage.ports import free_port
from stage.processes import Processes
from stage.servers import DATAGEN, Servers
from studio_log_ins import LogIns

#: Of each role the least that a preview needs, and a few more backgrounds, so that they differ.
GIVEN = {"concept": 6, "canvas": 6, "background": 8}


@pytest.fixture(scope="session")
def installation(
    processes: Processes, label_studio: LabelStudio, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("browser")
    port = free_port()
    own = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "REDIS_URL": redis_url.rsplit("/", 1)[0] + "/7",  # a corner of its own: other tests empty theirs
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATAGEN_DATA_DIR": str(folder),
        "DATAGEN_PREVIEW_SIZE": str(ROUND),
        "BASIC_AUTH_PASS": "for-this-test-alone",
        "OMP_NUM_THREADS": "1",
    }
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("DATAGEN_", "LABEL_STUDIO_"))
    }
    up = processes.start(
        "datagen-up", [*DATAGEN, "up", "--workers", "2"], env=own, cwd=folder, ready=lambda: _healthy(port), within=300
    )
    yield Servers(label_studio, own, {**inherited, **own}, folder)
    processes.stop(up)


@pytest.fixture(scope="session")
def log_ins() -> LogIns:
    """The log-ins of people at the studio's pages, which all tests share."""
    return LogIns()


@pytest.fixture(scope="session")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered plates: the first concept has no box yet, and the first canvas no polygon."""
    folder = tmp_path_factory.mktemp("plates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plates, "COUNTS", {**plates.COUNTS, **GIVEN})
        plates.write_pack(folder, lists=plates.GIVEN)
    for role in ("concept", "canvas"):
        file = folder / f"{role}.json"
        tasks = json.loads(file.read_text())
        (folder / f"{role}-drawn.json").write_text(json.dumps(tasks[:1]))
        tasks[0].pop("annotations")
        file.write_text(json.dumps(tasks))
    return folder


@pytest.fixture(scope="session")
def whole_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rendered plates, everything drawn."""
    folder = tmp_path_factory.mktemp("whole-plates")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plates, "COUNTS", {**plates.COUNTS, **GIVEN})
        return plates.write_pack(folder, lists=plates.GIVEN)


@pytest.fixture(scope="session")
def open_study(installation: Servers) -> Iterator[Callable[[str], Study]]:
    """Provision a study by the command line; its projects are deleted at the end of the session."""
    client = Client(installation.label_studio.url, installation.label_studio.token)
    settings = Settings(_env_file=None, data_dir=Path(installation.environment["DATAGEN_DATA_DIR"]))
    database = Database(settings.resolved_database_url)
    created: list[int] = []

    def provision(name: str) -> Study:
        provisioned = json.loads(installation.datagen("provision", name, "--label", "scratch", "--json"))
        projects = {ProjectKind[kind.upper()]: number for kind, number in provisioned["projects"].items()}
        created.extend(projects.values())
        return Study(name=name, projects=projects, servers=installation, client=client, database=database)

    yield provision
    for project_id in created:
        client.delete_project(project_id)
    client.close()
    database.close()


@pytest.fixture
def person(chromium: Browser, label_studio: LabelStudio, tmp_path: Path) -> Iterator[Person]:
    """A logged-in person. The last page is kept in the test's folder, for the diagnosis of a fault."""
    somebody = Person(chromium, label_studio)
    somebody.log_in()
    yield somebody
    somebody.page.screenshot(path=tmp_path / "seen-last.png")
    somebody.close()


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success
    except httpx.TransportError:
        return False
