"""The debounced notifier: job requests are enqueued a moment later, together, each once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from datagen.queue.debounce import DebouncedNotifier
from datagen.workflow.services import JobKind, JobRequest

WITHIN_S = 20.0


class Heard:
    """Records the job requests of each flush."""

    def __init__(self) -> None:
        self.rings: queue.Queue[list[JobRequest]] = queue.Queue()

    def __call__(self, job_requests: Sequence[JobRequest]) -> None:
        self.rings.put(list(job_requests))


def job_requests(*numbers: int) -> list[JobRequest]:
    return [JobRequest(JobKind.EVENT, number) for number in numbers]


def test_pressing_does_not_wait_for_the_ring() -> None:
    may_ring, heard = threading.Event(), Heard()

    def blocked(rung: Sequence[JobRequest]) -> None:
        may_ring.wait(WITHIN_S)
        heard(rung)

    notifier = DebouncedNotifier(blocked, after=0.0)
    notifier.schedule(*job_requests(1))
    assert heard.rings.empty()
    may_ring.set()
    assert heard.rings.get(timeout=WITHIN_S) == job_requests(1)


def test_pressed_several_times_it_rings_once_for_all_in_order() -> None:
    heard = Heard()
    notifier = DebouncedNotifier(heard, after=0.3)
    for job_request in job_requests(1, 2, 3):
        notifier.schedule(job_request)
    assert heard.rings.get(timeout=WITHIN_S) == job_requests(1, 2, 3)


def test_pressed_after_a_ring_it_rings_again() -> None:
    heard = Heard()
    notifier = DebouncedNotifier(heard, after=0.0)
    for job_request in job_requests(1, 2):
        notifier.schedule(job_request)
        assert heard.rings.get(timeout=WITHIN_S) == [job_request]
    assert heard.rings.empty()


def test_what_many_threads_press_is_passed_on_once_each() -> None:
    heard = Heard()
    notifier = DebouncedNotifier(heard, after=0.01)
    pressing = [
        threading.Thread(target=notifier.schedule, args=(job_request,)) for job_request in job_requests(*range(200))
    ]
    for thread in pressing:
        thread.start()
    for thread in pressing:
        thread.join()
    rung: list[JobRequest] = []
    while len(rung) < 200:
        rung += heard.rings.get(timeout=WITHIN_S)
    assert sorted(rung, key=lambda job_request: job_request.row_id) == job_requests(*range(200))
