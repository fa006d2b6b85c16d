"""``scripts/bench chaos``: a simulated team works while all parts are killed, without lost or duplicated work.

People annotate, judge, refine and approve through Label Studio's API. Meanwhile the web process, workers, scheduler,
Redis (with its data) and Label Studio are killed (SIGKILL) at random moments, and webhooks are lost, repeated and
delayed. After a limited time without faults, Label Studio, rows, image store and export are compared. The exit code is
0 if they agree."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select

from benches.bench_studies import study_with_inputs
from benches.chaos_faults import Killer, Webhooks
from benches.chaos_installation import Installation
from benches.chaos_ledger import Reckoning, reckon
from benches.chaos_recovery import Watch
from benches.chaos_team import Person
from datagen.entrypoints import bootstrap
from datagen.settings import Settings
from datagen.store.tables.base import WorkState
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.inputs import ProposalMakingRow
from datagen.store.tables.messages import InboxRow, OutboxRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.services import Services
from stage import plates, postgres_server
from stage.pack import read_pack
from stage.progress import print_line

#: Seconds after the last fault in which all work must be completed.
QUIET_S = 300.0


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if nothing is lost, duplicated, missing or mismatched."""
    parser = argparse.ArgumentParser(prog="scripts/bench chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long parts are killed (20)")
    parser.add_argument("--people", type=int, default=2, help="people, each with a study (2)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--seed", type=int, default=1, help="of kills and webhooks (1)")
    parser.add_argument("--postgres", action="store_true", help="our rows in PostgreSQL instead of SQLite")
    parser.add_argument("--keep", type=Path, help="keep the data and logs in this folder")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args(arguments)
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="datagen-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    if not chosen.postgres:
        return _run(chosen, folder, "")
    with postgres_server.running() as url:
        return _run(chosen, folder, url.replace("postgresql://", "postgresql+psycopg://") + "/postgres")


def _run(chosen: argparse.Namespace, folder: Path, database_url: str) -> int:
    installation = Installation(folder, workers=chosen.workers, database_url=database_url)
    try:
        services = _services(installation)
        people = [_person(installation, services, number, chosen.seed, folder) for number in range(chosen.people)]
        webhooks = Webhooks(chosen.seed)
        installation.gateway.meddler = webhooks
        watch = Watch(services.database)
        killer = Killer(installation, chosen.seed, watch.on_kill)
        until = time.monotonic() + 60 * chosen.minutes
        for person in people:
            person.until = until
        for thread in (watch, killer, *people):
            thread.start()
        for person in people:
            person.join()
        killer.stop()
        print_line(f"{killer.kills.total()} kills, {dict(webhooks.counts)}. Waiting for everything to come right.")
        began = time.monotonic()
        installation.recovered(QUIET_S)
        _come_right(services, people, began + QUIET_S)
        quiet = time.monotonic() - began
        watch.stop()
        reckoning = reckon(services, people, folder)
        figures = _figures(chosen, killer, webhooks, watch, people, reckoning, quiet)
        _report(reckoning, figures)
        if chosen.json:
            chosen.json.write_text(json.dumps(figures, indent=1))
        faults = [person.fault for person in people if person.fault is not None]
        return 0 if reckoning.clean and not faults else 1
    finally:
        installation.close()


def _services(installation: Installation) -> Services:
    """Services with which the bench reads rows, store and Label Studio. They enqueue nothing."""
    os.environ.update(installation.environment)
    return bootstrap.build_services(Settings(_env_file=None), lambda _job_requests: None)


def _person(installation: Installation, services: Services, number: int, seed: int, folder: Path) -> Person:
    """A simulated person with a study that has its inputs."""
    name = f"chaos {number + 1}"
    pack_folder = folder / "pack"
    if not pack_folder.exists():
        plates.write_pack(pack_folder, lists=plates.GIVEN)
    pack = read_pack(pack_folder)
    projects = study_with_inputs(installation, services, pack, name)
    server = installation.label_studio
    return Person(server.url, server.token, name, projects, seed + number)


def _come_right(services: Services, people: list[Person], deadline: float) -> None:
    """Wait until no work is in progress and there is no difference, or until ``deadline``."""
    while _under_way(services) or not reckon(services, people, None).clean:
        if time.monotonic() > deadline:
            return
        time.sleep(2)


def _under_way(services: Services) -> int:
    waiting = (WorkState.PENDING, WorkState.RUNNING)
    with services.database.read() as session:
        rows = sum(
            len(session.scalars(select(kind.id).where(kind.state.in_(waiting))).all())
            for kind in (InboxRow, OutboxRow, ShardRow, ProposalMakingRow)
        )
        unread = session.scalars(select(StudyRow.id).where(StudyRow.inputs_read != StudyRow.inputs_changed)).all()
        return rows + len(unread)


def _figures(
    chosen: argparse.Namespace,
    killer: Killer,
    webhooks: Webhooks,
    watch: Watch,
    people: list[Person],
    reckoning: Reckoning,
    quiet: float,
) -> dict[str, Any]:
    took = sorted(watch.seconds)
    acknowledged: Counter[str] = sum((person.acknowledged.counts for person in people), Counter())
    return {
        "minutes": chosen.minutes,
        "kills": killer.kills.total(),
        "webhooks": webhooks.counts["webhooks"],
        "dropped": webhooks.counts["dropped"],
        "doubled": webhooks.counts["doubled"],
        "lost": len(reckoning.lost),
        "twins": len(reckoning.twins),
        "holes": len(reckoning.holes),
        "mismatched": len(reckoning.mismatched),
        "recovery_p95_s": round(took[int(0.95 * (len(took) - 1))], 1) if took else None,
        "recovery_p50_s": round(took[len(took) // 2], 1) if took else None,
        "late": webhooks.counts["late"],
        "kills_by_part": dict(killer.kills),
        "acknowledged": dict(acknowledged),
        "compared": dict(reckoning.compared),
        "lost_by_label_studio": len(reckoning.lost_by_label_studio),
        "came_right_after_s": round(quiet, 1),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "seed": chosen.seed,
    }


def _report(reckoning: Reckoning, figures: dict[str, Any]) -> None:
    for word in ("lost", "twins", "holes", "mismatched", "lost_by_label_studio"):
        for line in getattr(reckoning, word)[:20]:
            print_line(f"{word}: {line}")
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
