"""Real servers for the tests, started on free ports when a test first requests them, and stopped at the end.

A developer who runs the suite often can keep a Label Studio running and name it in DATAGEN_TEST_LABEL_STUDIO_URL,
_EMAIL, _PASSWORD and _TOKEN: see CONTRIBUTING.
"""

from __future__ import annotations

import gc
import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from playwright.sync_api import Browser, sync_playwright
from redis import Redis
from sqlalchemy import make_url

from datagen.store.database import Database
from stage import label_studio_server, postgres_server, redis_server
from stage.label_studio_server import LabelStudio
from stage.person import CHROMIUM_FLAGS
from stage.processes import Processes

# a busy machine is no fault of the code under test
hypothesis_settings.register_profile("no deadline", deadline=None)
hypothesis_settings.load_profile("no deadline")

# What is imported and collected stays until the end: millions of objects, which each full collection would look through
# again, for half a second.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage again, less often than Python does by default, and only among what tests make."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo, after each test, the logging that a command in this process set up; its stream is closed by then."""
    root, gunicorn = logging.getLogger(), logging.getLogger("gunicorn.error")
    handlers, level = [*root.handlers], root.level
    gunicorn_handlers, propagate = [*gunicorn.handlers], gunicorn.propagate
    crashes, thread_crashes = sys.excepthook, threading.excepthook
    yield
    structlog.reset_defaults()
    root.handlers[:], gunicorn.handlers[:] = handlers, gunicorn_handlers
    root.setLevel(level)
    gunicorn.propagate = propagate
    sys.excepthook, threading.excepthook = crashes, thread_crashes


@pytest.fixture(autouse=True)
def _umask_as_it_was() -> Iterator[None]:
    """A command run in this process restricts the process's umask; the next test starts with the usual one."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Starts servers for the suite, and stops them all at its end."""
    started = Processes(tmp_path_factory.mktemp("servers"))
    yield started
    started.stop_all()


@pytest.fixture(scope="session")
def redis_url(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real Redis; what one test leaves there the next one finds: see ``clean_redis_url``."""
    return redis_server.start(processes, tmp_path_factory.mktemp("redis"), also_allow="+flushdb +keys")


@pytest.fixture
def clean_redis_url(redis_url: str) -> str:
    """The same Redis, emptied before the test."""
    with Redis.from_url(redis_url) as client:
        client.flushdb()
    return redis_url


@pytest.fixture(scope="session")
def label_studio(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> LabelStudio:
    """A real Label Studio with one user: ``.url .email .password .token`` and ``.personal_token()``."""
    folder = tmp_path_factory.mktemp("label-studio")
    if url := os.environ.get("DATAGEN_TEST_LABEL_STUDIO_URL"):
        email, password, token = (
            os.environ[f"DATAGEN_TEST_LABEL_STUDIO_{part}"] for part in ("EMAIL", "PASSWORD", "TOKEN")
        )
        kept = Path(os.environ.get("DATAGEN_TEST_LABEL_STUDIO_KEPT_TOKEN", folder / "personal_token"))
        return LabelStudio(url=url, email=email, password=password, token=token, kept_token=kept)
    return label_studio_server.start(processes, folder)


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[str]:
    with postgres_server.running() as url:
        yield url


@pytest.fixture
def postgres_url(_postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """SQLAlchemy's URL of an empty database on a real PostgreSQL, dropped after the test."""
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    with psycopg.connect(f"{_postgres_server}/postgres", autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        yield f"{_postgres_server.replace('postgresql://', 'postgresql+psycopg://')}/{name}"
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, which may not exist yet, on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rows.sqlite3'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite database to copy: migrations take longer than most tests of rows."""
    file = tmp_path_factory.mktemp("migrated") / "rows.sqlite3"
    migrated = Database(f"sqlite:///{file}")
    migrated.upgrade()
    migrated.close()
    return file


@pytest.fixture(scope="session")
def _migrated_postgres(_postgres_server: str) -> str:
    """The name of a migrated, empty database on PostgreSQL to copy."""
    with psycopg.connect(f"{_postgres_server}/postgres", autocommit=True) as server:
        server.execute("CREATE DATABASE migrated")
    migrated = Database(f"{_postgres_server.replace('postgresql://', 'postgresql+psycopg://')}/migrated")
    migrated.upgrade()
    migrated.close()
    return "migrated"


@pytest.fixture
def database(database_url: str, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A migrated, empty database."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        shutil.copyfile(request.getfixturevalue("migrated_file"), str(url.database))
    else:
        template = request.getfixturevalue("_migrated_postgres")
        with psycopg.connect(f"{request.getfixturevalue('_postgres_server')}/postgres", autocommit=True) as server:
            server.execute(f'DROP DATABASE "{url.database}"')
            server.execute(f'CREATE DATABASE "{url.database}" TEMPLATE {template}')
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A real headless Chromium; open a context and a page of your own in it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.fail("There is no chromium on the PATH; run scripts/test as root on Debian, or install it.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()
