"""``scripts/bench attack``: a real installation under all resource attacks at once, while a team's webhooks arrive.

The web process, a worker and the scheduler run with a real Redis and a real Label Studio (SQLite). From outside, the
attacks send request lines that are slow to redact, hold connections open, call /ready and guess passwords. A member of
Label Studio draws polygons of a thousand random corners and brush masks of noise, uploads pictures that take seconds to
decode, adds a task that Label Studio cannot send, copies a review task four thousand times and approves a million
images. Label Studio itself is frozen now and then.

Meanwhile webhooks of another study arrive at a steady rate. The same requests go to a bare server that stores nothing.
Its figures (``bare_…``) show the capacity that the machine has left during the attacks.

The exit code is 0 if at least 99.9 % of the webhooks were answered within a second, no writer to the database waited
for two seconds, and every event of the other study was handled."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import func, select

from benches import bare_server
from benches.attack_assaults import READINESS_CALLERS, Assaults, print_counts
from benches.attack_measures import LockProbe, MemoryWatch, Webhooks, send_together
from benches.bench_studies import study_with_inputs
from benches.chaos_installation import Installation
from datagen.domain.inputs import ProjectKind
from datagen.entrypoints import bootstrap
from datagen.label_studio.projects.provisioning import SECRET_HEADER
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.tables.base import WorkState
from datagen.store.tables.messages import InboxRow
from stage import plates
from stage.annotator import Annotator
from stage.pack import read_pack
from stage.processes import StageError, wait_until
from stage.progress import print_line

#: Maximum seconds for a preview round of the small plates, which takes a few seconds.
ROUND_WITHIN_S = 180.0
#: Seconds for which Label Studio is frozen, and seconds between two freezes.
FROZEN_S, FROZEN_EVERY_S = 4.0, 15.0
#: Minimum share of webhooks that are answered within a second, and maximum seconds that a writer may wait.
MIN_ANSWERED, LONGEST_LOCK_S = 0.999, 2.0


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if the installation withstands the attacks."""
    parser = argparse.ArgumentParser(prog="scripts/bench attack", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the attacks last (60)")
    parser.add_argument("--rate", type=float, default=20.0, help="webhooks of the other study a second (20)")
    parser.add_argument("--quiet", type=float, default=300.0, help="seconds to wait for what is still to do (300)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--keep", type=Path, help="keep the data and logs in this folder")
    chosen = parser.parse_args(arguments)
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="datagen-attack-"))
    folder.mkdir(parents=True, exist_ok=True)
    installation = Installation(folder, workers=1, gateway=False)
    try:
        figures = _run(installation, chosen, folder)
    finally:
        installation.close()
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))
    held = (
        figures["answered_within_1s"] >= MIN_ANSWERED
        and figures["longest_lock_s"] < LONGEST_LOCK_S
        and figures["events_handled"] == 1
    )
    return 0 if held else 1


def _run(installation: Installation, chosen: argparse.Namespace, folder: Path) -> dict[str, Any]:
    os.environ.update(installation.environment)
    settings = Settings(_env_file=None)
    services = bootstrap.build_services(settings, lambda _job_requests: None)
    pack_folder = folder / "pack"
    plates.write_pack(pack_folder, lists=plates.GIVEN)
    pack = read_pack(pack_folder)
    studies = {name: study_with_inputs(installation, services, pack, name) for name in ("team", "attacker", "poisoned")}
    team, attacker = studies["team"], studies["attacker"]
    with Annotator(installation.label_studio.url, installation.label_studio.token, "attacker") as annotator:
        decision = annotator.decide("build preview")
        annotator.await_previews(settings.preview_size, decision, ROUND_WITHIN_S)
    hook = services.label_studio.webhooks(team[ProjectKind.PREVIEWS])[0]  # as any member of Label Studio can read it
    task_ids = services.label_studio.import_tasks(team[ProjectKind.PREVIEWS], [{"data": {"image": "/none.png"}}] * 5)
    webhooks = Webhooks(
        address=urlsplit(installation.environment["DATAGEN_PUBLIC_URL"]).netloc,
        headers={SECRET_HEADER: hook.headers[SECRET_HEADER], "Content-Type": "application/json"},
        project_id=team[ProjectKind.PREVIEWS],
        task_ids=list(task_ids),
        rate=chosen.rate,
        seconds=chosen.seconds,
    )
    bare = replace(webhooks, address=bare_server.start(installation.processes))
    database = Path(installation.environment["DATAGEN_DATA_DIR"]) / "datagen.sqlite3"
    lock, memory = LockProbe(database), MemoryWatch(installation.up_pid)
    with lock.measuring(), memory.measuring():
        headers = {"Authorization": f"Token {installation.label_studio.token}"}
        with httpx.Client(base_url=installation.label_studio.url, headers=headers, timeout=120) as member:
            assaults = Assaults(
                web=installation.environment["DATAGEN_PUBLIC_URL"], label_studio=member, seconds=chosen.seconds
            )
            _begin(assaults, attacker, studies["poisoned"])
            freezing = threading.Thread(target=_freeze, args=(installation, assaults), name="freezing", daemon=True)
            freezing.start()
            print_line(f"under attack for {chosen.seconds:g} s")
            webhooks, bare = send_together(webhooks, bare)
            assaults.join()
            freezing.join()
            print_counts(assaults.counts)
            with contextlib.suppress(httpx.HTTPError):
                assaults.cancel(attacker[ProjectKind.DECISIONS])
        began = time.monotonic()
        with contextlib.suppress(StageError):  # the share below says how many were not handled
            wait_until(
                lambda: _handled(services.database, team[ProjectKind.PREVIEWS])[0] == 0,
                chosen.quiet,
                "The handling of every event",
            )
    waiting, done = _handled(services.database, team[ProjectKind.PREVIEWS])
    services.label_studio.close()
    services.database.close()
    return {
        "webhooks": webhooks.sent,
        "answered_within_1s": round(webhooks.answered_in_time, 5),
        "longest_lock_s": round(lock.longest, 3),
        "events_handled": done / max(1, waiting + done, len(webhooks.seconds_taken)),
        "peak_mb": round(memory.peak_mb),
        "p50_ms": webhooks.milliseconds(0.5),
        "p99_ms": webhooks.milliseconds(0.99),
        "max_ms": webhooks.milliseconds(1),
        "bare_answered_within_1s": round(bare.answered_in_time, 5),
        "bare_p50_ms": bare.milliseconds(0.5),
        "bare_p99_ms": bare.milliseconds(0.99),
        "bare_max_ms": bare.milliseconds(1),
        "refused": webhooks.refused,
        "quiet_s": round(time.monotonic() - began, 1),
        "attacks": dict(assaults.counts),
        "faults": assaults.faults,
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def _begin(assaults: Assaults, attacker: dict[ProjectKind, int], poisoned: dict[ProjectKind, int]) -> None:
    """Start all attacks."""
    assaults.start("request lines", assaults.request_lines, pause=0.5)
    assaults.start("drip", assaults.drip)
    for _ in range(READINESS_CALLERS):
        assaults.start("readiness", assaults.readiness, pause=0.1)
    assaults.start("wrong credentials", assaults.wrong_credentials, pause=0.02)
    assaults.start("drawing", assaults.draw(attacker), pause=2)
    assaults.start("slow pictures", lambda: assaults.bring_slow_pictures(attacker[ProjectKind.BACKGROUNDS]), times=1)
    assaults.start("poison", lambda: assaults.poison(poisoned[ProjectKind.BACKGROUNDS]), times=1)
    assaults.start("poison", lambda: assaults.poison(poisoned[ProjectKind.CONCEPTS]), times=1)
    assaults.start("copies", lambda: assaults.copy(attacker[ProjectKind.PREVIEWS]), times=1)
    assaults.start("a million images", lambda: assaults.approve_a_million(attacker[ProjectKind.DECISIONS]), pause=5)


def _freeze(installation: Installation, assaults: Assaults) -> None:
    """Freeze Label Studio for some seconds, at intervals."""
    while not assaults.over:
        time.sleep(min(FROZEN_EVERY_S, max(0.0, assaults.until - time.monotonic())))
        if assaults.over:
            return
        os.killpg(installation.label_studio_pid, signal.SIGSTOP)
        try:
            time.sleep(FROZEN_S)
        finally:
            os.killpg(installation.label_studio_pid, signal.SIGCONT)
        assaults.counts["Label Studio frozen"] += 1


def _handled(database: Database, project_id: int) -> tuple[int, int]:
    """Return the number of events of a project that wait or failed, and the number of those that were handled."""
    with database.read() as session:
        of_project = select(func.count()).where(InboxRow.project_id == project_id)
        done = session.scalar(of_project.where(InboxRow.state == WorkState.DONE)) or 0
        return (session.scalar(of_project) or 0) - done, done
