"""The pace of a client that reads a streamed response."""

from __future__ import annotations

from datagen.web.stream_pace import StreamPace


def pace_of(*, read_a_second: int, seconds: int, waiting: bool = True) -> list[int]:
    """The seconds at which a client that reads so much is found to be too slow."""
    pace = StreamPace(seconds=10, least_bytes=1_000, now=0)
    slow_at = []
    for second in range(1, seconds + 1):
        pace.add(read_a_second)
        if pace.is_too_slow(second, is_waiting=waiting):
            slow_at.append(second)
    return slow_at


def test_a_client_that_reads_a_little_all_the_time_is_too_slow_at_the_end_of_each_period() -> None:
    assert pace_of(read_a_second=99, seconds=25) == [10, 20]


def test_a_client_that_reads_enough_is_not() -> None:
    assert pace_of(read_a_second=100, seconds=60) == []


def test_time_in_which_nothing_waits_for_the_client_does_not_count() -> None:
    assert pace_of(read_a_second=0, seconds=60, waiting=False) == []


def test_what_was_read_fast_does_not_count_for_later_periods() -> None:
    pace = StreamPace(seconds=10, least_bytes=1_000, now=0)
    pace.add(10**9)
    assert not pace.is_too_slow(10, is_waiting=True)
    pace.add(999)
    assert pace.is_too_slow(20, is_waiting=True)
