"""Wrong passwords and secrets: what they cost the sender, and that the right one is let in all the while."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from datagen.web.wrong_credentials import (
    LONGEST_DELAY_SECONDS,
    MOST_ADDRESSES,
    WINDOW_SECONDS,
    Penalty,
    WrongCredentials,
)
from stage.ports import free_port
from stage.processes import Processes
from studio import Studio, start_web

pytest_plugins = ("studio_fixtures",)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_wrong_credentials_over_the_number_are_penalised_until_the_minute_is_over(clock: Clock) -> None:
    wrong = WrongCredentials(3, clock)
    assert [wrong.note("10.0.0.1", "same") for _ in range(3)] == [None] * 3
    clock.now += 20
    assert wrong.note("10.0.0.1", "same") == Penalty(retry_after=40, delay=0)
    assert wrong.note("10.0.0.2", "same") is None
    clock.now += WINDOW_SECONDS
    assert wrong.note("10.0.0.1", "same") is None


def test_each_further_guess_is_answered_later_up_to_a_bound(clock: Clock) -> None:
    wrong = WrongCredentials(3, clock)
    delays = [penalty.delay for number in range(40) if (penalty := wrong.note("10.0.0.1", f"guess {number}"))]
    assert delays[:3] == [0.25, 0.5, 0.75]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_SECONDS


def test_the_secret_from_before_a_change_sent_again_and_again_is_not_held_back(clock: Clock) -> None:
    wrong = WrongCredentials(3, clock)
    for number in range(40):
        wrong.note("10.0.0.1", f"guess {number}")
    wrong.note("10.0.0.1", "the old secret")
    penalty = wrong.note("10.0.0.1", "the old secret")
    assert penalty is not None
    assert penalty.delay == 0


def test_addresses_of_one_ipv6_network_count_together(clock: Clock) -> None:
    wrong = WrongCredentials(1, clock)
    assert wrong.note("2001:db8::1", "a") is None
    assert wrong.note("2001:db8::ffff:2", "b") is not None
    assert wrong.note("2001:db8:0:1::1", "c") is None
    assert wrong.note("::ffff:10.0.0.9", "d") is None
    assert wrong.note("10.0.0.9", "e") is not None


def test_no_number_of_addresses_fills_memory(clock: Clock) -> None:
    wrong = WrongCredentials(1, clock)
    for number in range(MOST_ADDRESSES + 100):
        wrong.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "a")
    assert len(wrong._counts) == MOST_ADDRESSES


@pytest.fixture
def strict(studio: Studio, processes: Processes, tmp_path: Path) -> Iterator[str]:
    """The address of a web process that lets three wrong credentials a minute pass."""
    environment = {**studio.environment, "PORT": str(free_port()), "DATAGEN_WRONG_CREDENTIALS_PER_MINUTE": "3"}
    web = start_web(processes, environment, tmp_path)
    yield f"http://127.0.0.1:{environment['PORT']}"
    processes.stop(web)


@pytest.mark.integration
def test_wrong_passwords_are_answered_with_429_and_the_right_one_is_let_in(studio: Studio, strict: str) -> None:
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
def test_wrong_secrets_are_answered_with_429_and_the_right_one_is_let_in(studio: Studio, strict: str) -> None:
    def webhook(secret: str) -> int:
        event = {"action": "X", "project": {"id": 2**40}, "task": {"id": 1, "updated_at": str(time.time_ns())}}
        return httpx.post(
            f"{strict}/webhook", json=event, headers={"X-Datagen-Secret": secret} if secret else {}, timeout=30
        ).status_code

    assert [webhook("") for _ in range(6)] == [401] * 6  # the webhook that an ML backend brings has none: no guess
    assert [webhook("the secret before the last change") for _ in range(6)] == [401] * 3 + [429] * 3
    assert webhook(studio.settings.secret_of_webhooks) == 201
    studio.settle()
