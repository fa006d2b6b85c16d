"""Membership in an installation: the first process creates the secrets; others need the same ones to start."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from sqlalchemy import delete, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from datagen.entrypoints import bootstrap, installation
from datagen.entrypoints.installation import (
    ProcessRole,
    accept,
    exposed,
    join,
    join_web,
    join_when_answered,
    mismatches,
)
from datagen.errors import SchemaProblem, SecretProblem
from datagen.settings import SHORTEST_SECRET, Settings
from datagen.store.backup import back_up, restore
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database, schema_revisions
from datagen.store.signed_urls import SignedUrls
from datagen.store.tables.installation import SharedSecretRow
from datagen.store.tables.studies import StudyRow
from forked_command import run_datagen
from studio import end_process

pytestmark = pytest.mark.integration

#: A machine of the installation: its settings with the given ones changed, and a data folder of its own.
Machine = Callable[..., Settings]

WEB, PART, PROVISION = ProcessRole.WEB, ProcessRole.PART, ProcessRole.PROVISION


@pytest.fixture
def machine(database: Database, tmp_path: Path) -> Machine:
    def make(name: str = "first", **changed: Any) -> Settings:
        common = {"database_url": database.url, "store_url": f"file://{tmp_path / 'images'}"}
        long_enough = {name: value if name.endswith("_url") else lengthened(value) for name, value in changed.items()}
        return Settings(_env_file=None, **{"data_dir": tmp_path / name, **common, **long_enough})

    return make


def lengthened(value: Any) -> Any:
    """Return a text whose words (secrets) are padded to the minimum length of a secret; other values unchanged."""
    if not isinstance(value, str):
        return value
    return " ".join(word.ljust(SHORTEST_SECRET, "-") for word in value.split(" "))


def add_study(database: Database) -> None:
    with database.write() as session:
        session.add(StudyRow(name="scratches", labels=["scratch"], engine="composite", preview_size=20))


def copy_secrets(source: Settings, target: Settings) -> None:
    folder = target.data_dir / "secrets"
    folder.mkdir(parents=True)
    for path in (source.data_dir / "secrets").iterdir():
        (folder / path.name).write_text(path.read_text())


def refusal(settings: Settings, role: ProcessRole) -> str:
    with pytest.raises(SecretProblem) as problem:
        join(settings, role)
    return str(problem.value)


# -- a second machine


@pytest.mark.parametrize("role", [PART, WEB, PROVISION])
def test_a_machine_without_the_secrets_refuses_and_makes_none(
    role: ProcessRole, machine: Machine, database: Database
) -> None:
    join(machine(), WEB)
    second = machine("second")
    sentence = refusal(second, role)
    assert "lacks the installation's webhook secret: set DATAGEN_WEBHOOK_SECRET, or copy the file " in sentence
    assert str(second.data_dir.absolute() / "secrets" / "webhook_secret") in sentence
    assert not second.data_dir.exists()
    copy_secrets(machine(), second)
    join(machine("second"), role)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"signing_keys_given": "a-key-of-its-own"}, "another key of image links than the installation: set DATAGEN_S"),
        ({"webhook_secret": "a secret of its own"}, "another webhook secret than the installation: set DATAGEN_WEB"),
        ({"basic_auth_pass": "a password of its own"}, "another basic-auth password than the installation: set BASIC"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_machine_with_another_secret_refuses_in_every_role(
    changed: dict[str, str], sentence: str, machine: Machine, database: Database
) -> None:
    """A worker with another signing key posted twenty links that the web process refused."""
    join(machine(), WEB)
    copy_secrets(machine(), machine("second"))
    for role in ProcessRole:
        assert sentence in refusal(machine("second", **changed), role)
    [mismatch] = mismatches(machine("second", **changed), database)
    assert sentence in mismatch


def test_of_two_first_processes_on_two_machines_one_makes_the_secrets_and_the_other_refuses(
    machine: Machine, database: Database
) -> None:
    def start(name: str) -> str | None:
        try:
            join(machine(name), PART)
        except SecretProblem as problem:
            return str(problem)
        return None

    with ThreadPoolExecutor(2) as both:
        ended = list(both.map(start, ("first", "second")))
    assert sorted(sentence is None for sentence in ended) == [False, True]
    [sentence] = [sentence for sentence in ended if sentence is not None]
    assert "lacks the installation's" in sentence
    assert sum((machine(name).data_dir / "secrets").exists() for name in ("first", "second")) == 1


def test_first_processes_on_one_machine_make_the_secrets_together(machine: Machine) -> None:
    with ThreadPoolExecutor(3) as all_of_them:
        list(all_of_them.map(lambda role: join(machine(), role), ProcessRole))
    join(machine(), PROVISION)


@pytest.mark.parametrize("role", list(ProcessRole))
def test_a_machine_with_an_image_store_of_its_own_refuses(role: ProcessRole, machine: Machine, tmp_path: Path) -> None:
    join(machine(), WEB)
    copy_secrets(machine(), machine("second"))
    own = {"store_url": f"file://{tmp_path / 'elsewhere'}"}
    assert "has no mark of this installation: set DATAGEN_STORE_URL" in refusal(machine("second", **own), role)
    BlobStore(own["store_url"]).write_mark("another")
    assert "belongs to another installation: set DATAGEN_STORE_URL" in refusal(machine("second", **own), role)


def test_a_store_that_cannot_be_read_is_no_reason_to_refuse(machine: Machine, tmp_path: Path) -> None:
    join(machine(), WEB)
    (tmp_path / "a file").touch()
    join(machine(store_url=f"file://{tmp_path / 'a file'}"), PART)


def test_store_that_hangs_is_given_up_within_seconds(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a pipe without a writer hangs as a dead network mount does; commands hung for two minutes."""
    join(machine(), WEB)
    mark = tmp_path / "images" / "installation"
    mark.unlink()
    os.mkfifo(mark)
    monkeypatch.setattr(installation, "MARK_SECONDS", 0.2)
    with structlog.testing.capture_logs() as lines:
        join(machine(), PART)
    assert "did not answer in time" in lines[-1]["reason"]
    mark.open("wb").close()  # lets the thread go that was left behind


# -- changes


def test_a_changed_secret_is_accepted_first_by_the_web_process_and_then_by_all(machine: Machine) -> None:
    join(machine(signing_keys_given="old"), WEB)
    both, new = machine(signing_keys_given="old new"), machine(signing_keys_given="new")
    assert "was changed on this machine, and the web process does not accept it yet" in refusal(both, PART)
    join(both, WEB)
    join(both, PART)
    join(new, PART)
    join(machine(signing_keys_given="old"), PART)  # its links are still let in
    for role in (WEB, PROVISION):
        assert "from before the last change" in refusal(machine(signing_keys_given="old"), role)
    join(new, WEB)
    assert "another key of image links" in refusal(machine(signing_keys_given="old"), PART)


def test_a_changed_password_is_known_by_the_one_before(machine: Machine) -> None:
    join(machine(basic_auth_pass="old pass", webhook_secret="old secret"), WEB)
    changed = {"basic_auth_pass": "new pass", "webhook_secret": "new secret"}
    assert "another" in refusal(machine(**changed), WEB)
    before = {"basic_auth_pass_previous": "old pass", "webhook_secret_previous": "old secret"}
    join(machine(**changed, **before), WEB)
    join(machine(**changed), PROVISION)
    join(machine(**changed), WEB)
    assert "another" in refusal(machine(basic_auth_pass="old pass", webhook_secret="new secret"), PART)


def test_secrets_without_the_ones_before_are_accepted_by_an_explicit_step(machine: Machine, tmp_path: Path) -> None:
    join(machine(), WEB)
    second = machine("second", store_url=f"file://{tmp_path / 'moved'}")
    assert accept(second) == ["webhook secret", "basic-auth password", "key of image links", "image store"]
    assert accept(second) == []
    join(second, PROVISION)
    refusal(machine(), PART)


def test_an_upgraded_installation_is_registered_by_its_web_process_alone(machine: Machine, database: Database) -> None:
    machine().make_missing_secrets()
    machine("stranger").make_missing_secrets()
    add_study(database)
    for role in (PART, PROVISION):
        assert "is not registered yet: start its web process first" in refusal(machine("stranger"), role)
    assert "is not registered yet: start its web process first" in " ".join(mismatches(machine(), database))
    join(machine(), WEB)
    assert "another webhook secret" in refusal(machine("stranger"), PART)
    assert exposed(database)  # until now it stood in every webhook's headers
    old = machine().secret_of_webhooks
    join(machine(webhook_secret="a new secret", webhook_secret_previous=old), WEB)
    assert not exposed(database)


def test_an_upgraded_installation_whose_key_is_lost_gets_no_new_one_unasked(
    machine: Machine, database: Database
) -> None:
    add_study(database)
    assert "lacks the installation's webhook secret" in refusal(machine(), WEB)
    assert not machine().data_dir.exists()
    accept(machine())
    join(machine(), WEB)


def test_a_link_of_an_unregistered_key_cannot_come_about(machine: Machine) -> None:
    """Every process that is allowed to start signs links that the web process accepts."""
    join(machine(), WEB)
    copy_secrets(machine(), machine("second"))
    join(machine("second"), PART)
    link = SignedUrls("", machine("second").signing_keys, 1).make("a" * 64)
    assert SignedUrls("", machine().signing_keys, 1).opens(link, "a" * 64)


def test_process_that_joined_makes_its_workshop_without_joining_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles: list[ProcessRole] = []

    def noted(settings: Settings, role: ProcessRole) -> None:
        roles.append(role)
        join(settings, role)

    monkeypatch.setattr(bootstrap, "settings", lru_cache(lambda: machine(label_studio_api_key="a token of this test")))
    monkeypatch.setattr(bootstrap, "join", noted)
    end_process()
    bootstrap.join_as(PROVISION)
    bootstrap.services()
    assert roles == [PROVISION]
    end_process()
    bootstrap.services()
    assert roles == [PROVISION, PART]
    end_process()


# -- a database that does not answer


def failing_once(monkeypatch: pytest.MonkeyPatch, fault: SQLAlchemyError) -> list[SQLAlchemyError]:
    """Make the first check of the schema raise ``fault``; the returned list is empty once it was raised."""
    faults = [fault]
    check = Database.check_schema

    def look(database: Database) -> None:
        if faults:
            raise faults.pop()
        check(database)

    monkeypatch.setattr(Database, "check_schema", look)
    monkeypatch.setattr(installation, "FIRST_WAIT", 0.01)
    return faults


@pytest.mark.parametrize(
    "fault",
    [
        PoolTimeoutError("no connection came free"),
        InterfaceError("SELECT 1", None, Exception("the connection is closed")),
        DBAPIError("SELECT 1", None, Exception("the server went away"), connection_invalidated=True),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_every_kind_of_unavailable_database_is_waited_for(
    fault: SQLAlchemyError, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(monkeypatch, fault)
    join_web(machine())
    faults = failing_once(monkeypatch, fault)
    join_when_answered(machine(), WEB)
    assert not faults


def test_error_of_a_database_that_answers_is_raised(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_once(monkeypatch, ProgrammingError("SELECT 1", None, Exception("no such column")))
    with pytest.raises(ProgrammingError):
        join_web(machine())


# -- the schema


def test_each_state_of_the_schema_has_its_sentence(database: Database, machine: Machine) -> None:
    join(machine(), WEB)
    newest, before = schema_revisions()[-1], schema_revisions()[-2]
    for revision, sentence in (
        (before, f"({before}) is older than this version of Datagen, which needs {newest}; stop every process, then"),
        ("9999", f"(9999) is newer than this version of Datagen, which knows {newest}; install the version"),
    ):
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
        for role in ProcessRole:
            with pytest.raises(SchemaProblem) as problem:
                join(machine(), role)
            assert sentence in str(problem.value)
    with pytest.raises(SchemaProblem, match="is newer than"):
        database.upgrade()
    with database.write() as session:
        session.execute(text("DELETE FROM alembic_version"))
    with pytest.raises(SchemaProblem, match="has no tables yet; run: datagen migrate"):
        join_web(machine())


def run(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATAGEN_", "LABEL_STUDIO_"))}
    return run_datagen(*arguments, env={**kept, **environment}, cwd=folder, timeout=60)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An installation of which nothing was ever started; nothing answers at its Label Studio and its Redis."""
    return {
        "DATAGEN_DATA_DIR": str(tmp_path / "data"),
        "LABEL_STUDIO_URL": "http://127.0.0.1:1",
        "LABEL_STUDIO_API_KEY": "f" * 40,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "PORT": "1",
    }


#: Every command that reads or writes rows, and does not make the schema itself.
COMMANDS = [
    ("web",),
    ("worker",),
    ("scheduler",),
    ("status",),
    ("preview", "x"),
    ("refine", "x"),
    ("approve", "x", "--count", "1"),
    ("cancel", "x"),
    ("stop", "x"),
    ("retry", "x"),
    ("mend-links", "x"),
    ("edit", "x", "--description", "y"),
    ("archive", "x"),
    ("clone", "x", "y"),
    ("delete", "x", "--yes"),
    ("add", "x", "concept", "."),
    ("export", "x", "--out", "x.zip"),
    ("backup", "x.zip"),
    ("secrets", "accept", "--yes"),
]


@pytest.mark.parametrize("revision", [None, "0007"], ids=["empty", "old"])
def test_no_command_works_on_a_schema_that_is_not_its_own(
    revision: str | None, environment: dict[str, str], tmp_path: Path
) -> None:
    """Workers threw a traceback for every job, and raw SQL was shown to people."""
    if revision is not None:
        database = Database(f"sqlite:///{tmp_path / 'data' / 'datagen.sqlite3'}")
        database.upgrade(revision)
        database.close()
    for arguments in COMMANDS:
        ended = run(environment, tmp_path, *arguments)
        assert ended.returncode == 1, (arguments, ended.stdout, ended.stderr)
        assert "run: datagen migrate" in ended.stderr, (arguments, ended.stderr)
        assert "Traceback" not in ended.stderr
    doctor = run(environment, tmp_path, "doctor")
    [finding] = [line for line in doctor.stdout.splitlines() if line.startswith("FAIL schema")]
    assert "run: datagen migrate" in finding
    assert "wait secrets: not looked at; mend “schema” first" in doctor.stdout


@pytest.mark.parametrize("command", ["web", "worker", "scheduler", "up", "provision"])
def test_every_process_of_a_machine_with_another_key_refuses_to_start(
    command: str, environment: dict[str, str], tmp_path: Path
) -> None:
    assert run(environment, tmp_path, "migrate").returncode == 0
    assert run(environment, tmp_path, "status").returncode == 0  # the first process: it makes the secrets
    arguments = (command, "x", "--label", "y") if command == "provision" else (command,)
    ended = run({**environment, "DATAGEN_SIGNING_KEYS": "a-key-of-its-own"}, tmp_path, *arguments)
    assert ended.returncode == 1, ended.stderr
    assert "another key of image links than the installation: set DATAGEN_SIGNING_KEYS" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "a-key-of-its-own" not in ended.stderr + ended.stdout


def test_a_restored_backup_brings_its_own_fingerprints(
    environment: dict[str, str], tmp_path: Path, database: Database, machine: Machine
) -> None:
    join(machine(), WEB)
    back_up(database, tmp_path / "backup.zip")
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite3'}")
    other.upgrade()
    stranger = machine("stranger", database_url=other.url, store_url=f"file://{tmp_path / 'other images'}")
    join(stranger, WEB)  # it was started before the backup was restored
    restore(other, tmp_path / "backup.zip")
    with other.read() as session:
        restored = {row.fingerprint for row in session.scalars(select(SharedSecretRow))}
    with database.read() as session:
        assert restored == {row.fingerprint for row in session.scalars(select(SharedSecretRow))}
    assert "another webhook secret" in refusal(stranger, WEB)
    other.close()


def test_the_log_of_a_first_start_names_what_was_made_and_holds_none_of_it(machine: Machine) -> None:
    with structlog.testing.capture_logs() as lines:
        join(machine(), WEB)
    [event] = [line for line in lines if line["event"] == "installation.secrets_made"]
    assert event["names"] == ["webhook_secret", "basic_auth_pass", "signing_key"]
    for path in (machine().data_dir / "secrets").iterdir():
        assert path.read_text() not in str(lines)


def test_an_emptied_registry_counts_as_an_upgrade_where_studies_are(machine: Machine, database: Database) -> None:
    join(machine(), WEB)
    add_study(database)
    with database.write() as session:
        session.execute(delete(SharedSecretRow))
    assert "is not registered yet" in refusal(machine(), PART)
    join(machine(), WEB)
    join(machine(), PART)
