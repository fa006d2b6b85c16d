"""A periodic thread repeats its action until its block ends, and never afterwards."""

from __future__ import annotations

import threading

import pytest

from datagen.store.periodic_thread import run_periodically
from stage.processes import wait_until


def alive() -> bool:
    return "beside-a-test" in {thread.name for thread in threading.enumerate()}


def test_thread_runs_until_the_block_ends_also_with_an_error() -> None:
    calls: list[bool] = []
    thrice = threading.Event()

    def act() -> None:
        calls.append(alive())
        if len(calls) == 3:
            thrice.set()

    def work() -> None:
        with run_periodically(act, 0.001, "beside-a-test"):
            assert thrice.wait(20)
            raise RuntimeError("the work failed")

    with pytest.raises(RuntimeError, match="the work failed"):
        work()
    assert all(calls)
    assert not alive()


def test_it_ends_before_where_there_is_no_more_to_do() -> None:
    calls: list[int] = []

    def act() -> bool:
        calls.append(len(calls))
        return len(calls) < 2

    with run_periodically(act, 0.001, "beside-a-test"):
        wait_until(lambda: not alive(), 20, "the end of what is done beside", every=0.01)
    assert calls == [0, 1]
