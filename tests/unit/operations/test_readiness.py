"""The readiness of the parts is read from a cache at once, with its age."""

from __future__ import annotations

import threading

import pytest

from datagen.operations import readiness
from datagen.operations.readiness import Look, ReadinessCache
from stage.processes import wait_until


def test_latest_look_is_returned_while_the_next_one_hangs() -> None:
    hangs, over = threading.Event(), threading.Event()
    answers = iter([{"redis": True}])

    def ask() -> dict[str, bool]:
        for answer in answers:
            return answer
        hangs.set()
        over.wait(30)
        return {"redis": False}

    cache = ReadinessCache(ask, every=0.01)
    assert cache.latest().parts == {}
    cache.start()
    try:
        assert hangs.wait(30)
        assert cache.latest().parts == {"redis": True}
    finally:
        over.set()


@pytest.mark.parametrize(("age", "is_stale"), [(0.0, False), (readiness.STALE_SECONDS + 1, True)])
def test_outdated_readiness_is_reported(age: float, is_stale: bool) -> None:
    assert Look({"redis": True}, age).stale is is_stale


def test_look_that_fails_leaves_the_one_before_and_the_next_one_is_taken() -> None:
    answers = iter([{"redis": True}, RuntimeError("unexpected"), {"redis": False}])

    def ask() -> dict[str, bool]:
        answer = next(answers, {"redis": False})
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    cache = ReadinessCache(ask, every=0.01)
    cache.start()
    wait_until(lambda: cache.latest().parts == {"redis": False}, 30, "the look after the one that failed", every=0.01)
