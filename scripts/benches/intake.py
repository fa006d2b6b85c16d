"""``scripts/bench intake``: cost of a webhook for Datagen, and its effect on a Submit in Label Studio.

Webhooks arrive at a constant rate, each on a connection of its own, as Label Studio sends them. Every answered webhook
must be a row. The bench measures with the web process alone, and with a worker that handles events at the same time.
The time of an answer is measured from the moment at which the webhook was due, so it includes a wait for earlier
webhooks.

Annotations are submitted in Label Studio in turn in three projects: one with Datagen's webhook, one without a webhook,
and one whose webhook goes to a receiver that does nothing. The last gives the time that Label Studio needs to send a
webhook. Each submission waits until the worker has handled the previous one, so that the work for one is not measured
in another."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from benches.chaos_installation import Installation
from datagen.domain.inputs import ProjectKind
from datagen.entrypoints import bootstrap
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.webhook_payload import ACTIONS
from datagen.label_studio.projects.provisioning import SECRET_HEADER
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.tables.base import WorkState
from datagen.store.tables.messages import InboxRow
from datagen.workflow.studies.open import open_study
from stage.gateway import Answer, Gateway
from stage.processes import wait_until
from stage.progress import print_line

#: Maximum number of open connections.
SENDERS = 48
#: Id of a project that belongs to no study. Its events are stored and handled, without any effect.
UNKNOWN_PROJECT = 2**40
#: Size of a body in bytes, about that of an annotation with a few regions.
BODY_BYTES = 6000


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if no answered webhook is lost and all figures are within their limits."""
    parser = argparse.ArgumentParser(prog="scripts/bench intake", description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="webhooks a second (100)")
    parser.add_argument("--seconds", type=float, default=20.0, help="for so long (20)")
    parser.add_argument("--pairs", type=int, default=60, help="pairs of annotations submitted in Label Studio (60)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="datagen-intake-") as folder:
        installation = Installation(Path(folder), workers=1, gateway=False)
        try:
            os.environ.update(installation.environment)
            settings = Settings(_env_file=None)
            figures = {
                "rate": chosen.rate,
                "seconds": chosen.seconds,
                "with_workers": _steady(settings, chosen.rate, chosen.seconds, "with workers"),
                "submit": _submits(settings, chosen.pairs),
            }
            installation.without_workers()
            figures["web_alone"] = _steady(settings, chosen.rate, chosen.seconds, "web process alone")
            figures["load_average"] = [round(load, 1) for load in os.getloadavg()]
        finally:
            installation.close()
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))
    durable = all(figures[case]["durable"] == figures[case]["answered"] for case in ("web_alone", "with_workers"))
    return 0 if durable and figures["web_alone"]["p99_ms"] <= 50 and figures["submit"]["ratio"] <= 1.2 else 1


def _steady(settings: Settings, rate: float, seconds: float, description: str) -> dict[str, float | int]:
    """Send webhooks at a steady rate; return figures of the seconds from due time to answer."""
    database = Database(settings.resolved_database_url)
    before = _stored(database)
    address = f"127.0.0.1:{settings.port}"
    headers = {SECRET_HEADER: settings.secret_of_webhooks, "Content-Type": "application/json"}
    many = int(rate * seconds)
    bodies = [_body(f"{description} {number} {time.time_ns()}") for number in range(many)]
    begin = time.perf_counter() + 0.5

    def send(number: int) -> float | None:
        due = begin + number / rate
        if (early := due - time.perf_counter()) > 0:
            time.sleep(early)
        connection = http.client.HTTPConnection(address, timeout=30)
        try:
            connection.request("POST", "/webhook", bodies[number], headers)
            answered = connection.getresponse().status == http.client.CREATED
        except OSError:
            answered = False
        finally:
            connection.close()
        return time.perf_counter() - due if answered else None

    with ThreadPoolExecutor(SENDERS) as pool:
        took = list(pool.map(send, range(many)))
    answered = sorted(seconds_taken for seconds_taken in took if seconds_taken is not None)
    print_line(f"{description}: {len(answered)} of {many} answered")
    stored = _stored(database) - before
    database.close()
    return {
        "sent": many,
        "answered": len(answered),
        "durable": stored,
        **{f"p{share}_ms": round(1000 * _quantile(answered, share / 100), 1) for share in (50, 95, 99)},
        "max_ms": round(1000 * answered[-1], 1),
    }


def _submits(settings: Settings, pairs: int) -> dict[str, float | int]:
    """Submit annotations in turn with and without Datagen's webhook; return medians in milliseconds and their ratio."""
    services = bootstrap.build_services(settings, lambda _job_requests: None)
    created = open_study(
        services, "intake", ["thing"], bootstrap.server_access_of(settings), engine=settings.engine, preview_size=6
    )
    ours = created.projects[ProjectKind.PREVIEWS]
    client = LabelStudio(settings.label_studio_url, settings.api_key)
    config = {"label_config": client.project(ours).options["label_config"]}
    bare = client.create_project("intake without a webhook", config).id
    idle = client.create_project("intake with a webhook to an idle receiver", config).id
    receiver = Gateway("http://127.0.0.1:1", meddler=lambda _passing, _forward: Answer(200))
    client.create_webhook(idle, f"{receiver.url}/webhook", {}, ACTIONS)
    form = [{"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["good"]}}]
    tasks = {
        project: client.import_tasks(project, [{"data": {"image": "/none.png"}}] * (pairs + 5))
        for project in (ours, bare, idle)
    }
    took: dict[int, list[float]] = {ours: [], bare: [], idle: []}
    headers = {"Authorization": f"Token {settings.api_key}"}
    with httpx.Client(base_url=settings.label_studio_url, headers=headers, timeout=60) as person:
        for number in range(pairs + 5):
            for project in (ours, bare, idle) if number % 2 else (idle, bare, ours):
                began = time.perf_counter()
                person.post(
                    f"/api/tasks/{tasks[project][number]}/annotations/", json={"result": form}
                ).raise_for_status()
                took[project].append(time.perf_counter() - began)
                wait_until(lambda: not _unhandled(services.database), 60, "The handling of an event", every=0.02)
    client.close()
    receiver.close()
    services.label_studio.close()
    services.database.close()
    # the first ones warm it up
    with_hook, without, to_idle = (statistics.median(took[project][5:]) for project in (ours, bare, idle))
    return {
        "pairs": pairs,
        "with_ms": round(1000 * with_hook, 1),
        "without_ms": round(1000 * without, 1),
        "to_idle_receiver_ms": round(1000 * to_idle, 1),
        "ratio": round(with_hook / without, 3),
        "ratio_to_idle_receiver": round(with_hook / to_idle, 3),
    }


def _body(unlike_any_other: str) -> bytes:
    body: dict[str, Any] = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": UNKNOWN_PROJECT},
        "task": {"id": 7},
        "annotation": {"id": 8, "task": 7, "updated_at": unlike_any_other},
    }
    return json.dumps(body | {"filling": "x" * BODY_BYTES}).encode()


def _stored(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).where(InboxRow.project_id == UNKNOWN_PROJECT)) or 0


def _unhandled(database: Database) -> int:
    with database.read() as session:
        waiting = InboxRow.state.in_([WorkState.PENDING, WorkState.RUNNING])
        return session.scalar(select(func.count()).where(waiting)) or 0


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
