"""Secrets are changed during operation: no request fails, and at the end the old ones are refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.entrypoints.bootstrap import server_access_of
from datagen.imaging.png_encoder import encode_png
from datagen.settings import Settings
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.signed_urls import SignedUrls
from datagen.store.study_secrets import study_secret
from datagen.store.tables.messages import InboxRow
from datagen.workflow.studies.open import open_study
from forked_command import run_datagen
from stage.ports import free_port
from stage.processes import Processes, Started, wait_until
from studio import Studio, plate, settings_of, start_web

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@dataclass(kw_only=True)
class Installation:
    """A web process with its secrets in ``.env``, as documented."""

    web: Started
    folder: Path
    url: str
    settings: dict[str, str] = field(default_factory=dict)

    def write(self, **settings: str) -> None:
        self.settings = settings
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def reload(self) -> None:
        """The documented steps after a change."""
        os.kill(self.web.pid, signal.SIGHUP)

    def webhook(self, secret: str) -> int:
        event = {"action": "ROTATION", "project": {"id": 2**40}, "task": {"id": 1, "updated_at": str(time.time_ns())}}
        return httpx.post(
            f"{self.url}/webhook", json=event, headers={"X-Datagen-Secret": secret}, timeout=30
        ).status_code

    def login(self, password: str) -> int:
        return httpx.get(f"{self.url}/versions", auth=("datagen", password), timeout=30).status_code


@pytest.fixture
def installation(studio: Studio, processes: Processes, tmp_path: Path) -> Iterator[Installation]:
    data = str(tmp_path / "data")
    environment = {**studio.environment, "PORT": str(free_port()), "DATAGEN_DATA_DIR": data}
    Database(settings_of(environment).resolved_database_url).upgrade()
    started = Installation(web=None, folder=tmp_path, url=f"http://127.0.0.1:{environment['PORT']}")  # type: ignore[arg-type]
    started.write(DATAGEN_WEBHOOK_SECRET="the old secret of this test", BASIC_AUTH_PASS="the old password of this test")
    started.web = start_web(processes, environment, tmp_path)
    yield started
    processes.stop(started.web)


def test_secret_and_password_are_changed_without_one_refused_request(
    installation: Installation,
) -> None:
    answers: set[int] = set()
    over = threading.Event()
    spoken = {"secret": "the old secret of this test", "password": "the old password of this test"}

    def speak() -> None:
        """Send requests like Label Studio, which has one secret at a time and gets the new one by provisioning."""
        while not over.is_set():
            answers.add(installation.webhook(spoken["secret"]))
            answers.add(installation.login(spoken["password"]))

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        # 1. both are let in
        installation.write(
            DATAGEN_WEBHOOK_SECRET="the new secret of this test",
            DATAGEN_WEBHOOK_SECRET_PREVIOUS="the old secret of this test",
            BASIC_AUTH_PASS="the new password of this test",
            DATAGEN_BASIC_AUTH_PASS_PREVIOUS="the old password of this test",
        )
        installation.reload()
        wait_until(
            lambda: installation.webhook("the new secret of this test") == 201, 30, "the new secret's acceptance"
        )
        wait_until(
            lambda: installation.login("the new password of this test") == 200, 30, "the new password's acceptance"
        )
        # 2. Label Studio receives the new secret
        spoken |= {"secret": "the new secret of this test", "password": "the new password of this test"}
        # 3. the old ones are out
        installation.write(
            DATAGEN_WEBHOOK_SECRET="the new secret of this test", BASIC_AUTH_PASS="the new password of this test"
        )
        time.sleep(0.5)  # requests that Label Studio sent with the old ones have arrived by then
        installation.reload()
        wait_until(lambda: installation.webhook("the old secret of this test") == 401, 30, "the old secret's refusal")
        wait_until(lambda: installation.login("the old password of this test") == 401, 30, "the old password's refusal")
    finally:
        over.set()
        speaker.join()
    assert answers == {200, 201}


@pytest.mark.parametrize(
    ("password", "why"),
    [("too short", "BASIC_AUTH_PASS has 9 characters"), ("another machine's password", "another basic-auth password")],
)
def test_settings_that_are_refused_at_a_reload_leave_the_old_ones_serving(
    password: str, why: str, installation: Installation
) -> None:
    old = installation.settings
    installation.write(**{**old, "BASIC_AUTH_PASS": password})
    installation.reload()
    log = Path(installation.web.log)
    wait_until(lambda: "the changed settings are not taken up" in log.read_text(), 30, "the refusal of the reload")
    assert why in log.read_text()
    assert password not in log.read_text()
    assert installation.login(old["BASIC_AUTH_PASS"]) == 200
    new = "the new password of this test"
    installation.write(**{**old, "BASIC_AUTH_PASS": new, "DATAGEN_BASIC_AUTH_PASS_PREVIOUS": old["BASIC_AUTH_PASS"]})
    installation.reload()
    wait_until(lambda: installation.login(new) == 200, 30, "the next reload")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (Path.mkdir, "signing_key cannot be read (Is a directory)"),
        (lambda path: path.write_bytes(b"\xff" * 64), "a file in the secrets folder, holds what cannot be read"),
    ],
    ids=["folder", "bytes"],
)
def test_secret_file_that_cannot_be_read_at_a_reload_leaves_the_old_settings_serving(
    spoil: Callable[[Path], object], why: str, installation: Installation
) -> None:
    path = installation.folder / "data" / "secrets" / "signing_key"
    path.unlink()
    spoil(path)
    installation.reload()
    log = Path(installation.web.log)
    wait_until(lambda: "the changed settings are not taken up" in log.read_text(), 30, "the refusal of the reload")
    assert why in log.read_text()
    assert installation.login(installation.settings["BASIC_AUTH_PASS"]) == 200


def test_reload_answers_requests_on_kept_connections(installation: Installation) -> None:
    """Browsers keep a connection open for the next picture."""
    old = installation.settings
    statuses: list[int] = []
    over = threading.Event()

    def browse() -> None:
        login = ("datagen", old["BASIC_AUTH_PASS"])
        with httpx.Client(base_url=installation.url, auth=login, timeout=30) as browser:
            while not over.is_set():
                statuses.append(browser.get("/versions").status_code)

    browsers = [threading.Thread(target=browse) for _ in range(4)]
    for browser in browsers:
        browser.start()
    try:
        new = {**old, "DATAGEN_WEBHOOK_SECRET": "the new secret of this test"}
        installation.write(**new, DATAGEN_WEBHOOK_SECRET_PREVIOUS=old["DATAGEN_WEBHOOK_SECRET"])
        installation.reload()
        wait_until(lambda: installation.webhook("the new secret of this test") == 201, 30, "the reload")
        installation.write(**new)
        installation.reload()
        wait_until(lambda: installation.webhook("the old secret of this test") == 401, 30, "the old worker's end")
    finally:
        over.set()
        for browser in browsers:
            browser.join()
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_provisioning_again_sends_label_studio_the_new_secret_and_password(studio: Studio) -> None:
    study = studio.open_study(inputs=False)
    changed = Settings(
        _env_file=None,
        **{
            **studio.settings.model_dump(),
            "webhook_secret": "a new secret of this test",
            "basic_auth_pass": studio.settings.password,
        },
    )
    provisioned = open_study(
        studio.services, study.name, [], server_access_of(changed), engine="composite", preview_size=3
    )
    assert provisioned.created == []
    wanted = study_secret("a new secret of this test", study.row().webhook_salt)
    for project in study.projects.values():
        ours = [hook for hook in studio.client.webhooks(project) if hook.url == f"{studio.settings.own_url}/webhook"]
        assert [hook.headers["X-Datagen-Secret"] for hook in ours] == [wanted]


@dataclass(kw_only=True)
class Machine:
    """One of several machines: its folder with its ``.env``, its own data folder, and what all machines have."""

    folder: Path
    common: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {**self.common, "DATAGEN_DATA_DIR": str(self.folder / "data")}

    def write(self, **settings: str) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def datagen(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("DATAGEN_", "LABEL_STUDIO_", "BASIC_AUTH_"))}
        env = {**kept, **self.environment, "COLUMNS": "200", "NO_COLOR": "1"}
        return run_datagen(*arguments, env=env, cwd=self.folder)

    def doctor(self, study: str) -> dict[str, str]:
        """The findings of doctor by part, with their marks: ``{"secrets": "ok: …"}``."""
        result = self.datagen("doctor", "--study", study)
        assert "Traceback" not in result.stderr
        findings = {}
        for line in result.stdout.splitlines():
            head, _, finding = line.partition(": ")
            mark, _, name = head.partition(" ")
            findings[name.strip()] = f"{mark}: {finding}"
        return findings


OLD = {"DATAGEN_WEBHOOK_SECRET": "the old secret of this test", "BASIC_AUTH_PASS": "the old password of this test"}
NEW = {"DATAGEN_WEBHOOK_SECRET": "the new secret of this test", "BASIC_AUTH_PASS": "the new password of this test"}
PREVIOUS = {
    "DATAGEN_WEBHOOK_SECRET_PREVIOUS": "the old secret of this test",
    "DATAGEN_BASIC_AUTH_PASS_PREVIOUS": "the old password of this test",
}


def test_the_written_procedure_changes_secret_and_password_on_several_machines(
    studio: Studio, processes: Processes, postgres_url: str, tmp_path: Path
) -> None:
    """With a real Label Studio: it cut the ML backend off, and doctor's advice on one machine broke the others."""
    name = f"wf {uuid.uuid4().hex[:10]}"
    studio.opened.append(name)
    common = {
        **{key: value for key, value in studio.environment.items() if key != "DATAGEN_DATA_DIR"},
        "PORT": str(free_port()),
        "DATAGEN_DATABASE_URL": postgres_url,
        "DATAGEN_STORE_URL": f"file://{tmp_path / 'images'}",
        "REDIS_URL": studio.environment["REDIS_URL"].rpartition("/")[0] + "/8",
    }
    first, second = (Machine(folder=tmp_path / machine_name, common=common) for machine_name in ("first", "second"))
    first.write(**OLD)
    second.write(**OLD)
    assert first.datagen("migrate").returncode == 0
    web = start_web(processes, first.environment, first.folder)
    key = (first.folder / "data" / "secrets" / "signing_key").read_text()
    second.write(**OLD, DATAGEN_SIGNING_KEYS=key)
    provisioned = first.datagen("provision", name, "--label", "pit", "--json")
    assert provisioned.returncode == 0, provisioned.stderr
    projects = json.loads(provisioned.stdout)["projects"]
    database = Database(postgres_url)
    try:
        for machine in (first, second):
            message = machine.doctor(name)
            for part in ("secrets", "web log-in", "image link", *(f"{part_name} {name}" for part_name in STUDY_PARTS)):
                assert message[part].startswith("ok"), (part, message)

        # 1. and 2. on the machine where the web process runs
        first.write(**NEW, **PREVIOUS)
        os.kill(web.pid, signal.SIGHUP)
        own_url = f"http://127.0.0.1:{common['PORT']}"
        wait_until(lambda: login(own_url, "the new password of this test") == 200, 30, "the new password's acceptance")
        # 3. the other machine has the old ones, and does no harm with them
        refused = second.datagen("provision", name)
        assert refused.returncode == 1
        assert "has the webhook secret from before the last change: set DATAGEN_WEBHOOK_SECRET" in refused.stderr
        message = second.doctor(name)
        assert message["secrets"].startswith("FAIL: this machine has the webhook secret from before the last change")
        assert message[f"webhooks of {name}"] == "wait: not looked at; mend “secrets” first"
        assert "datagen provision" not in "".join(message.values())
        second.write(**NEW, DATAGEN_SIGNING_KEYS=key)
        # 4. doctor names the studies whose secret in Label Studio is old, and provisioning sends the new one
        message = second.doctor(name)
        assert f"has another secret; run: datagen provision '{name}'" in message[f"webhooks of {name}"]
        result = second.datagen("provision", name)
        assert result.returncode == 0, result.stderr
        assert "address and log-in of ML backend" in result.stdout
        # 5. the old ones are out
        first.write(**NEW)
        os.kill(web.pid, signal.SIGHUP)
        wait_until(lambda: login(own_url, "the old password of this test") == 401, 30, "the old password's refusal")

        for machine in (first, second):
            message = machine.doctor(name)
            for part in ("secrets", "web log-in", "image link", *(f"{part_name} {name}" for part_name in STUDY_PARTS)):
                assert message[part].startswith("ok"), (part, message)
        start_training(studio, projects["previews"])
        with database.read() as session:
            trained = select(InboxRow.id).where(InboxRow.action == "START_TRAINING")
            assert session.scalar(trained.where(InboxRow.project_id == projects["previews"])) is not None
    finally:
        processes.stop(web)
        database.close()


#: What doctor says of each study that a change of secrets could break.
STUDY_PARTS = ("webhooks of", "ML backends of", "delivery to")


def login(own_url: str, password: str) -> int:
    return httpx.get(f"{own_url}/versions", auth=("datagen", password), timeout=30).status_code


def start_training(studio: Studio, project_id: int) -> None:
    """Choose “Start Training” in a project's menu; Label Studio sends it to our connection, with its log-in."""
    [backend] = studio.client.backends(project_id)
    headers = {"Authorization": f"Token {studio.server.token}"}
    url = f"{studio.server.url}/api/ml/{backend.id}/train"
    httpx.post(url, headers=headers, json={}, timeout=30).raise_for_status()


def test_doctor_reports_an_outdated_password_in_label_studio(
    studio: Studio, processes: Processes, tmp_path: Path
) -> None:
    """The old password is also reported while it is still accepted."""
    name = f"wf {uuid.uuid4().hex[:10]}"
    studio.opened.append(name)
    common = {**studio.environment, "PORT": str(free_port())}
    machine = Machine(folder=tmp_path, common=common)
    machine.write(**OLD)
    assert machine.datagen("migrate").returncode == 0
    web = start_web(processes, machine.environment, tmp_path)
    try:
        provisioned = machine.datagen("provision", name, "--label", "pit")
        assert provisioned.returncode == 0, provisioned.stderr
        own_url = f"http://127.0.0.1:{common['PORT']}"
        new = {**OLD, "BASIC_AUTH_PASS": "the new password of this test"}
        for previous, sentence in (
            (
                {"DATAGEN_BASIC_AUTH_PASS_PREVIOUS": "the old password of this test"},
                "has the password from before the last change",
            ),
            ({}, "it has another password"),
        ):
            machine.write(**new, **previous)
            os.kill(web.pid, signal.SIGHUP)
            old = 200 if previous else 401
            wait_until(
                lambda: login(own_url, "the new password of this test") == 200, 30, "the new password's acceptance"
            )
            wait_until(
                lambda wanted=old: login(own_url, "the old password of this test") == wanted,
                30,
                "the web process's reload",
            )  # type: ignore[misc]
            message = machine.doctor(name)[f"ML backends of {name}"]
            assert sentence in message
            assert message.endswith(f"run: datagen provision '{name}'")
        assert machine.datagen("provision", name).returncode == 0
        assert machine.doctor(name)[f"ML backends of {name}"].startswith("ok")
    finally:
        processes.stop(web)


def test_the_secret_of_one_study_is_changed_alone(studio: Studio) -> None:
    leaked, other = studio.open_study(inputs=False), studio.open_study(inputs=False)
    before, others = studio.secret_of(leaked.id), studio.secret_of(other.id)
    open_study(
        studio.services,
        leaked.name,
        [],
        server_access_of(studio.settings),
        engine=None,
        preview_size=3,
        new_secret=True,
    )
    after = studio.secret_of(leaked.id)
    assert after != before
    assert studio.secret_of(other.id) == others
    assert leaked.row().webhook_salt_previous is None
    for project in leaked.projects.values():
        assert [hook.headers["X-Datagen-Secret"] for hook in studio.client.webhooks(project)] == [after]

    def tell(secret: str) -> int:
        event = {
            "action": "ROTATION",
            "project": {"id": leaked.projects[ProjectKind.DATASET]},
            "task": {"id": 1, "updated_at": str(time.time_ns())},
        }
        return studio.post_webhook(json.dumps(event).encode(), secret=secret).status_code

    assert (tell(after), tell(before), tell(others)) == (201, 403, 403)


def test_the_key_of_links_is_changed_while_links_are_about_and_a_leaked_one_is_shut_out(
    installation: Installation, studio: Studio, tmp_path: Path
) -> None:
    settings = settings_of({**studio.environment, "DATAGEN_DATA_DIR": str(tmp_path / "data")})
    digest = BlobStore(settings.resolved_store_url).put(encode_png(plate(78)))
    kept = tmp_path / "data" / "secrets" / "signing_key"
    old_key = kept.read_text()

    def link(key: str) -> str:
        return SignedUrls(installation.url, key.encode(), 365).make(digest)

    kept.write_text(f"{old_key}\na-new-key-of-links\n")
    installation.reload()
    new, old = link("a-new-key-of-links"), link(old_key)
    wait_until(lambda: httpx.get(new, timeout=30).status_code == 200, 30, "the new key's acceptance")
    assert httpx.get(old, timeout=30).status_code == 200
    kept.write_text("a-new-key-of-links\n")
    installation.reload()
    wait_until(lambda: httpx.get(old, timeout=30).status_code == 403, 30, "the old key's refusal")
    assert httpx.get(new, timeout=30).status_code == 200


HEARER = """
import pathlib, signal, sys
signal.signal(signal.SIGHUP, lambda *_: pathlib.Path(sys.argv[1]).touch())
pathlib.Path(sys.argv[2]).touch()
while True:
    signal.pause()
"""


def test_up_hands_the_hang_up_on_to_the_web_process_alone(processes: Processes, tmp_path: Path) -> None:
    parts = {
        name: [sys.executable, "-c", HEARER, str(tmp_path / f"{name} heard"), str(tmp_path / f"{name} is up")]
        for name in ("web", "worker-1")
    }
    program = f"from datagen.operations.supervisor import supervise\nsupervise({parts!r})"

    def up() -> bool:
        return all((tmp_path / f"{name} is up").exists() for name in parts)

    started = processes.start("up", [sys.executable, "-c", program], ready=up, within=60)
    os.kill(started.pid, signal.SIGHUP)
    wait_until((tmp_path / "web heard").exists, 20, "the web process's hang-up")
    assert not (tmp_path / "worker-1 heard").exists()
    assert processes.is_alive(started)
    processes.stop(started)
