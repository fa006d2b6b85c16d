"""Wrong passwords and secrets: their sender is limited and delayed; the right ones are always accepted."""

from __future__ import annotations

import pytest

from datagen.web.wrong_credentials import (
    LONGEST_DELAY_SECONDS,
    MAX_ADDRESSES,
    WINDOW_SECONDS,
    Penalty,
    WrongCredentials,
)


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
    for number in range(MAX_ADDRESSES + 100):
        wrong.note(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "a")
    assert len(wrong._counts) == MAX_ADDRESSES
