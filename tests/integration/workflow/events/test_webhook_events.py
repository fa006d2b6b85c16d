"""An event whose worker is killed is handled once; ``tests/unit/workflow/events`` has what each event means."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind, now
from datagen.store.tables.messages import InboxRow
from datagen.workflow.events import webhook_events
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

#: Handles an event like a worker that is killed right after the transaction that began a round.
KILLED_AT_THE_ROUND = """
import os, signal, sys
from datagen.entrypoints.bootstrap import build_services, settings
from datagen.workflow.events import webhook_events
from datagen.workflow.services import JobKind

def die_at_a_shard(job_requests):
    if any(request.job_kind is JobKind.PREVIEW_SHARD for request in job_requests):
        os.kill(os.getpid(), signal.SIGKILL)

webhook_events.handle(build_services(settings(), die_at_a_shard), int(sys.argv[1]))
"""


def due(studio: Studio, event: InboxRow) -> None:
    with studio.services.database.write() as session:
        session.get_one(InboxRow, event.id).due_at = now()


def again(studio: Studio, event: InboxRow) -> InboxRow:
    with studio.rows() as session:
        return session.get_one(InboxRow, event.id)


def start_training(studio: Studio, study: Study) -> InboxRow:
    """Choose “Start Training” in the menu of the study's Previews project; return the event that waits."""
    backend = studio.client.backends(study.projects[ProjectKind.PREVIEWS])[0]
    headers = {"Authorization": f"Token {studio.server.token}"}
    url = f"{studio.server.url}/api/ml/{backend.id}/train"
    httpx.post(url, headers=headers, json={}, timeout=30).raise_for_status()
    [event] = [
        event
        for event in study.events(ProjectKind.PREVIEWS)
        if event.action == "START_TRAINING" and event.handled_at is None
    ]
    return event


def test_start_training_builds_one_preview_though_its_worker_was_killed_after_deciding(
    studio: Studio, study: Study
) -> None:
    study.review()
    rounds = len(study.batches(BatchKind.ROUND))
    event = start_training(studio, study)
    command = [sys.executable, "-c", KILLED_AT_THE_ROUND, str(event.id)]
    killed = subprocess.run(command, env={**os.environ, **studio.environment}, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(study.batches(BatchKind.ROUND)) == rounds + 1
    # the round is ready, so that another could be built, when the killed worker's lease has ended
    studio.work_until(lambda: study.row().state == "reviewing", "the round")
    due(studio, event)
    webhook_events.handle(studio.services, event.id)
    studio.settle()
    assert len(study.batches(BatchKind.ROUND)) == rounds + 1
    assert again(studio, event).handled_at is not None
    assert "Not done" not in study.page()
