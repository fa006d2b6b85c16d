"""The web process is killed: events that it answered are kept, and those that it missed are found."""

from __future__ import annotations

import threading

import httpx
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.settings import Settings
from datagen.store.tables.messages import InboxRow
from plant import Plant
from studio import Study, verdict_result

pytestmark = pytest.mark.integration


def test_verdicts_given_meanwhile_are_found(plant: Plant, reviewed: Study) -> None:
    plant.kill("web")
    reviewed.judge(
        verdict_result("good"), verdict_result("bad", "too small", comment="hardly there"), verdict_result("good")
    )
    plant.start("web")
    plant.until(lambda: len(reviewed.verdicts()) == 3, "The verdicts")
    assert [(str(row.opinion), row.comment) for row in reviewed.verdicts()] == [
        ("good", ""),
        ("bad", "hardly there"),
        ("good", ""),
    ]
    plant.until_settled()


def test_with_the_settings_as_they_come_they_are_found_within_60_seconds() -> None:
    assert Settings(_env_file=None).reconcile_seconds <= 30


def test_every_webhook_that_it_answered_is_stored(plant: Plant, study: Study) -> None:
    headers = {"X-Datagen-Secret": plant.secret_of(study.id)}
    project = study.projects[ProjectKind.DATASET]
    answered: list[int] = []
    lock = threading.Lock()
    enough = threading.Event()

    def send(numbers: range) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{plant.environment['PORT']}", headers=headers, timeout=5) as web:
            for number in numbers:
                body = {"action": "TASKS_CREATED", "project": {"id": project}, "tasks": [{"id": number}]}
                try:
                    status = web.post("/webhook", json=body).status_code
                except httpx.TransportError:
                    return  # killed
                assert status == 201
                with lock:
                    answered.append(number)
                    if len(answered) >= 100:
                        enough.set()

    senders = [
        threading.Thread(target=send, args=(range(start, start + 10_000),))
        for start in range(10_000_000, 10_040_000, 10_000)
    ]
    for sender in senders:
        sender.start()
    assert enough.wait(60)
    plant.kill("web")
    for sender in senders:
        sender.join()

    with plant.rows() as session:
        stored = {row for ids in session.query(InboxRow.task_ids) for row in ids[0]}
    assert set(answered) <= stored
    plant.start("web")
