"""Wrong passwords and secrets: their sender is limited and delayed; the right ones are always accepted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from datagen.web.wrong_credentials import (
    WINDOW_SECONDS,
)
from stage.ports import free_port
from stage.processes import Processes
from studio import Studio, start_web

pytest_plugins = ("studio_fixtures",)


@pytest.fixture
def strict(studio: Studio, processes: Processes, tmp_path: Path) -> Iterator[str]:
    """The address of a web process that lets three wrong credentials a minute pass."""
    environment = {**studio.environment, "PORT": str(free_port()), "DATAGEN_WRONG_CREDENTIALS_PER_MINUTE": "3"}
    web = start_web(processes, environment, tmp_path)
    yield f"http://127.0.0.1:{environment['PORT']}"
    processes.stop(web)


@pytest.mark.integration
def test_wrong_passwords_are_answered_with_429_and_the_right_one_is_accepted(studio: Studio, strict: str) -> None:
    right = (studio.settings.basic_auth_user, studio.settings.password)
    statuses, seconds = [], []
    for number in range(12):
        began = time.perf_counter()
        answer = httpx.get(f"{strict}/versions", auth=("datagen", f"wrong {number}"), timeout=30)
        seconds.append(time.perf_counter() - began)
        statuses.append(answer.status_code)
        assert httpx.get(f"{strict}/versions", auth=right, timeout=30).status_code == 200
    assert statuses == [401] * 3 + [429] * 9
    assert 0 < int(answer.headers["Retry-After"]) <= WINDOW_SECONDS
    assert answer.json()["error"].startswith("too many wrong passwords or secrets from this address; try again in ")
    assert sum(seconds[-3:]) > 3 * sum(seconds[:3])  # held back by two seconds each


@pytest.mark.integration
def test_wrong_secrets_are_answered_with_429_and_the_right_one_is_accepted(studio: Studio, strict: str) -> None:
    def webhook(secret: str) -> int:
        event = {"action": "X", "project": {"id": 2**40}, "task": {"id": 1, "updated_at": str(time.time_ns())}}
        return httpx.post(
            f"{strict}/webhook", json=event, headers={"X-Datagen-Secret": secret} if secret else {}, timeout=30
        ).status_code

    assert [webhook("") for _ in range(6)] == [401] * 6  # the webhook that an ML backend brings has none: no guess
    assert [webhook("the secret before the last change") for _ in range(6)] == [401] * 3 + [429] * 3
    assert webhook(studio.settings.secret_of_webhooks) == 201
    studio.settle()


@pytest.mark.integration
@pytest.mark.parametrize("proxies", [0, 1])
def test_behind_a_proxy_of_ones_own_each_client_is_counted_by_its_own_address(
    studio: Studio, processes: Processes, tmp_path: Path, proxies: int
) -> None:
    environment = {
        **studio.environment,
        "PORT": str(free_port()),
        "DATAGEN_WRONG_CREDENTIALS_PER_MINUTE": "1",
        "DATAGEN_PROXIES": str(proxies),
    }
    web = start_web(processes, environment, tmp_path)

    def attempt(number: int, address: str) -> int:
        answer = httpx.get(
            f"http://127.0.0.1:{environment['PORT']}/versions",
            auth=("datagen", f"wrong {number}"),
            headers={"X-Forwarded-For": f"203.0.113.9, {address}"},  # the client itself may send the first part
            timeout=30,
        )
        return answer.status_code

    statuses = [attempt(number, f"198.51.100.{number}") for number in range(1, 4)]
    processes.stop(web)
    assert statuses == ([401, 401, 401] if proxies else [401, 429, 429])
