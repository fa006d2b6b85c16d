"""Secrets are changed while Label Studio and people go on: no request fails, and in the end the old ones are out."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from datagen.jobs.context import connection_of
from datagen.settings import Settings
from datagen.store.decode import encode_png
from datagen.workflow.studies import open_study
from stage.ports import free_port
from stage.processes import Processes, Started, wait_until
from studio import Studio, plate, start_web

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@dataclass(kw_only=True)
class Installation:
    """A web process whose secrets stand in a ``.env`` beside it, as the documentation has it."""

    web: Started
    folder: Path
    url: str
    settings: dict[str, str] = field(default_factory=dict)

    def write(self, **settings: str) -> None:
        self.settings = settings
        (self.folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def reload(self) -> None:
        """What the documentation says to do after a change."""
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
    environment = {**studio.environment, "PORT": str(free_port())}
    made = Installation(web=None, folder=tmp_path, url=f"http://127.0.0.1:{environment['PORT']}")  # type: ignore[arg-type]
    made.write(DATAGEN_WEBHOOK_SECRET="the old secret of this test", BASIC_AUTH_PASS="the old password of this test")
    made.web = start_web(processes, environment, tmp_path)
    yield made
    processes.stop(made.web)


def test_secret_and_password_are_changed_without_one_refused_request(
    installation: Installation, studio: Studio
) -> None:
    answers: set[int] = set()
    over = threading.Event()
    spoken = {"secret": "the old secret of this test", "password": "the old password of this test"}

    def speak() -> None:
        """Label Studio: it knows one secret at a time, and hears of the new one when a study is provisioned."""
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
        # 2. Label Studio is told
        spoken |= {"secret": "the new secret of this test", "password": "the new password of this test"}
        # 3. the old ones are out
        installation.write(
            DATAGEN_WEBHOOK_SECRET="the new secret of this test", BASIC_AUTH_PASS="the new password of this test"
        )
        time.sleep(0.5)  # what Label Studio sent with the old ones before it was told has arrived by then
        installation.reload()
        wait_until(lambda: installation.webhook("the old secret of this test") == 401, 30, "the old secret's refusal")
        wait_until(lambda: installation.login("the old password of this test") == 401, 30, "the old password's refusal")
    finally:
        over.set()
        speaker.join()
    assert answers == {200, 201}
    studio.settle()


def test_settings_that_are_refused_at_a_reload_leave_the_old_ones_serving(installation: Installation) -> None:
    installation.write(BASIC_AUTH_PASS="too short")
    installation.reload()
    log = Path(installation.web.log)
    wait_until(lambda: "the changed settings are not taken up" in log.read_text(), 30, "the refusal of the reload")
    assert "BASIC_AUTH_PASS has 9 characters" in log.read_text()
    assert "too short" not in log.read_text()
    assert installation.login("the old password of this test") == 200
    installation.write(BASIC_AUTH_PASS="the new password of this test")
    installation.reload()
    wait_until(lambda: installation.login("the new password of this test") == 200, 30, "the next reload")


def test_reload_answers_what_kept_connections_send_meanwhile(installation: Installation) -> None:
    """As browsers do, which keep a connection for the next picture."""
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
        installation.write(**{**old, "DATAGEN_WEBHOOK_SECRET": "the new secret of this test"})
        installation.reload()
        wait_until(lambda: installation.webhook("the new secret of this test") == 201, 30, "the reload")
        wait_until(lambda: installation.webhook("the old secret of this test") == 401, 30, "the old worker's end")
    finally:
        over.set()
        for browser in browsers:
            browser.join()
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_provisioning_again_tells_label_studio_the_new_secret_and_password(studio: Studio) -> None:
    study = studio.open_study(inputs=False)
    changed = Settings(
        _env_file=None,
        **{
            **studio.settings.model_dump(),
            "webhook_secret": "a new secret of this test",
            "basic_auth_pass": "a new password of this test",
        },
    )
    made = open_study(studio.workshop, study.name, [], connection_of(changed), engine="composite", preview_size=3)
    assert made.created == []
    for project in study.projects.values():
        ours = [hook for hook in studio.client.webhooks(project) if hook.url == f"{studio.settings.own_url}/webhook"]
        assert [hook.headers["X-Datagen-Secret"] for hook in ours] == ["a new secret of this test"]


def test_the_key_of_links_is_changed_while_links_are_about_and_a_leaked_one_is_shut_out(
    installation: Installation, studio: Studio
) -> None:
    digest = studio.workshop.images.put(encode_png(plate(78)))
    kept = studio.settings.data_dir / "secrets" / "signing_key"
    old_key = kept.read_text()
    link = studio.workshop.links.make(digest).replace(studio.settings.own_url, installation.url)
    try:
        kept.write_text(f"{old_key}\na-new-key-of-links\n")
        installation.reload()
        new = newest_links(studio).make(digest).replace(studio.settings.own_url, installation.url)
        wait_until(lambda: httpx.get(new, timeout=30).status_code == 200, 30, "the new key's acceptance")
        assert httpx.get(link, timeout=30).status_code == 200
        kept.write_text("a-new-key-of-links\n")
        installation.reload()
        wait_until(lambda: httpx.get(link, timeout=30).status_code == 403, 30, "the old key's refusal")
        assert httpx.get(new, timeout=30).status_code == 200
    finally:
        kept.write_text(old_key)


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
    program = f"from datagen.jobs.supervisor import supervise\nsupervise({parts!r})"

    def up() -> bool:
        return all((tmp_path / f"{name} is up").exists() for name in parts)

    started = processes.start("up", [sys.executable, "-c", program], ready=up, within=60)
    os.kill(started.pid, signal.SIGHUP)
    wait_until((tmp_path / "web heard").exists, 20, "the web process's hang-up")
    assert not (tmp_path / "worker-1 heard").exists()
    assert processes.is_alive(started)
    processes.stop(started)


def newest_links(studio: Studio) -> object:
    from datagen.store.links import Links

    settings = Settings(_env_file=None, **studio.settings.model_dump())
    return Links(settings.own_url, settings.signing_keys, settings.image_link_days)
