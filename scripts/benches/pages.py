"""``scripts/bench pages``: what the studio's pages cost, and whether webhooks wait for them, on a real installation.

The rows of a study with 50 versions and 100,000 samples are written directly (``benches.large_study``). ``--part``
selects what is measured; all parts together take about six minutes on two quiet cores:

* ``keyboard``: a person in Chromium, who looks .8 s at each image, judges a round of 20 images on the review sheet by
  keyboard. Datagen renders the round, and each verdict is stored in Label Studio.
* ``sqlite``, ``postgresql``: the time of each page in turn with a trivial page of a server without content, and the
  processor time of Datagen's processes (and of PostgreSQL's).
* ``gallery``: the round gallery of 200 images in Chromium, with every thumbnail in view, at first (thumbnails are
  made) and again with an empty cache; and the bytes of a first visit of each page in a laptop's window.
* ``webhooks``: webhooks at a steady rate, while nobody browses, and while 20 people open a page with 12 pictures each
  second, six streams of events are open, and three downloads are read.

The exit code is 0 if all figures are within their limits (``LIMITS``)."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from sqlalchemy import select

from benches import bare_server, page_browser, page_crowd
from benches.attack_measures import Webhooks, send_together
from benches.bench_studies import study_with_inputs
from benches.chaos_installation import Installation
from benches.intake import UNKNOWN_PROJECT
from benches.large_study import SAMPLES, LargeStudy, add_large_study, store_pictures
from benches.page_visits import log_in, measure, paths_of, processor_seconds, visitor
from datagen.domain.lifecycle import StudyState
from datagen.entrypoints import bootstrap
from datagen.entrypoints.installation import ProcessRole, join
from datagen.label_studio.projects.provisioning import SECRET_HEADER
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.tables.studies import StudyRow
from datagen.workflow.services import Services
from datagen.workflow.studies.open import open_study
from stage import plates, postgres_server
from stage.annotator import Annotator
from stage.pack import read_pack
from stage.ports import free_port, is_open
from stage.processes import wait_until
from stage.progress import print_line

PARTS = ("keyboard", "sqlite", "gallery", "webhooks", "postgresql")
#: Largest p95 of a page in milliseconds; seconds of the whole gallery; bytes of a thumbnail and of a first visit;
#: seconds of 20 verdicts; and p99 of webhooks while people browse, as a multiple of the p99 while nobody does.
LIMITS = {"page_ms": 200, "gallery_s": 1.5, "thumbnail": 20_000, "first_visit": 250_000, "verdicts_s": 25, "p99": 2}
#: Webhooks a second, and for how long, seconds.
RATE, SECONDS = 25.0, 20.0
#: Pages that the people of the part ``webhooks`` open.
_BROWSED = ("home", "study", "inputs", "round gallery", "run list", "dataset view", "table, largest first", "sample")
#: Number of visits of the whole gallery.
_VISITS = 4
#: Number of photos of each role in the study whose round is judged, and maximum seconds for its round.
_PHOTOS, _ROUND_WITHIN_S = 8, 300.0


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if all figures are within their limits."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench pages", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="measure this part alone; may be repeated")
    parser.add_argument("--times", type=int, default=20, help="requests for each page (20)")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"samples of the large run ({SAMPLES:,})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"duration of webhooks, twice ({SECONDS:g})")
    parser.add_argument("--photos", type=Path, help="show the photos of this folder in place of rendered plates")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args(arguments)
    figures: dict[str, Any] = {"samples": chosen.samples}
    with tempfile.TemporaryDirectory(prefix="datagen-pages-") as folder:
        _measure(Path(folder), chosen, figures)
    figures["missed"] = missed(figures)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    _write(figures, chosen.json)
    return 1 if figures["missed"] else 0


def missed(figures: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each figure that is not within its limit."""
    sentences = []
    for part in ("sqlite", "postgresql"):
        for name, page in figures.get(part, {}).get("pages", {}).items():
            if page["p95_ms"] > LIMITS["page_ms"]:
                sentences.append(f"{part}, {name}: p95 {page['p95_ms']:g} ms")
    if gallery := figures.get("gallery"):
        if gallery["whole"]["median_s"] > LIMITS["gallery_s"]:
            sentences.append(f"gallery: {gallery['whole']['median_s']:g} s until complete")
        if gallery["whole"]["largest_bytes"] > LIMITS["thumbnail"]:
            sentences.append(f"gallery: a thumbnail of {gallery['whole']['largest_bytes']:,} bytes")
        for name, visit in gallery["first_visits"].items():
            if visit["bytes"] > LIMITS["first_visit"]:
                sentences.append(f"{name}: {visit['bytes']:,} bytes at the first visit")
    if (keyboard := figures.get("keyboard")) and keyboard["shown_s"] > LIMITS["verdicts_s"]:
        sentences.append(f"keyboard: {keyboard['shown_s']:g} s for {keyboard['verdicts']} verdicts")
    if hooks := figures.get("webhooks"):
        alone, crowded = hooks["nobody"]["p99_ms"], hooks["people"]["p99_ms"]
        if crowded > LIMITS["p99"] * alone:
            sentences.append(f"webhooks: p99 {crowded:g} ms while people browse, {alone:g} ms while nobody does")
    return sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    """Pages that are served: their address, a session's cookies, the large study, and who uses processor time."""

    url: str
    cookies: Mapping[str, str]
    token: str
    study: LargeStudy
    processor: Callable[[], float]


def _measure(folder: Path, chosen: argparse.Namespace, figures: dict[str, Any]) -> None:
    parts = chosen.part or list(PARTS)
    installation = Installation(folder, workers=1, gateway=False)
    try:
        bare = f"http://{bare_server.start(installation.processes)}"
        if "keyboard" in parts:
            with _part(figures, "keyboard", chosen.json):
                figures["keyboard"].update(_keyboard(installation, folder))
        installation.without_workers()
        if {"sqlite", "gallery", "webhooks"} & {*parts}:
            site = _site(installation, installation.environment, chosen, lambda: [installation.up_pid])
            if "sqlite" in parts:
                with _part(figures, "sqlite", chosen.json):
                    figures["sqlite"]["pages"] = _pages(site, bare, chosen.times)
            if "gallery" in parts:
                with _part(figures, "gallery", chosen.json):
                    figures["gallery"].update(_gallery(site))
            if "webhooks" in parts:
                with _part(figures, "webhooks", chosen.json):
                    figures["webhooks"].update(_webhooks(installation, site, bare, chosen.seconds))
        if "postgresql" in parts:
            with ExitStack() as stack:
                site = _on_postgresql(installation, folder, chosen, stack)
                with _part(figures, "postgresql", chosen.json):
                    figures["postgresql"]["pages"] = _pages(site, bare, chosen.times)
    finally:
        installation.close()


@contextmanager
def _part(figures: dict[str, Any], name: str, file: Path | None) -> Iterator[None]:
    """Context manager of a part: adds its duration and the machine's load, and writes what is measured so far."""
    print_line(name)
    figures[name] = {}
    began = time.monotonic()
    yield
    figures[name]["seconds"] = round(time.monotonic() - began)
    figures[name]["load_average"] = [round(load, 1) for load in os.getloadavg()]
    _write(figures, file)


def _write(figures: Mapping[str, Any], file: Path | None) -> None:
    if file is not None:
        file.write_text(json.dumps(figures, indent=1) + "\n")


@contextmanager
def _services(environment: Mapping[str, str]) -> Iterator[tuple[Services, Settings]]:
    os.environ.update(environment)
    settings = Settings(_env_file=None)
    services = bootstrap.build_services(settings, lambda _job_requests: None)
    try:
        yield services, settings
    finally:
        services.label_studio.close()
        services.database.close()


def _site(
    installation: Installation,
    environment: Mapping[str, str],
    chosen: argparse.Namespace,
    roots: Callable[[], list[int]],
) -> _Site:
    """Write the large study and log in; ``roots`` are the processes whose processor time counts."""
    print_line(f"writing a study of {chosen.samples:,} samples")
    photos = sorted(path for path in chosen.photos.iterdir() if path.is_file()) if chosen.photos else []
    with _services(environment) as (services, settings):
        access = bootstrap.server_access_of(settings)
        name = f"large {urlsplit(environment['DATAGEN_PUBLIC_URL']).port}"
        open_study(services, name, ["scratch"], access, engine=settings.engine, preview_size=20)
        with services.database.read() as session:
            study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == name)).one()
        pictures = store_pictures(services.images, photos=photos)
        study = add_large_study(services.database, study_id, pictures, chosen.samples)
        _analyze(services.database)
    url = environment["DATAGEN_PUBLIC_URL"]
    person = installation.label_studio
    return _Site(
        url=url,
        cookies=log_in(url, person),
        token=person.token,
        study=study,
        processor=lambda: processor_seconds(roots()),
    )


def _pages(site: _Site, bare: str, times: int) -> dict[str, dict[str, float]]:
    with visitor(site.url, site.cookies, site.token) as client, visitor(bare) as other:
        return measure(client, other, paths_of(site.study), times, site.processor)


def _gallery(site: _Site) -> dict[str, Any]:
    paths = {name: path for name, path in paths_of(site.study).items() if path.startswith("/studio/")}
    with page_browser.chromium() as browser:
        used = site.processor()
        whole = page_browser.whole_gallery(browser, site.url, site.cookies, paths["round gallery"], _VISITS)
        whole["processor_s"] = round((site.processor() - used) / _VISITS, 2)
        return {"whole": whole, "first_visits": page_browser.first_visits(browser, site.url, site.cookies, paths)}


def _webhooks(installation: Installation, site: _Site, bare: str, seconds: float) -> dict[str, Any]:
    with _services(installation.environment) as (_services_of_it, settings):
        headers = {SECRET_HEADER: settings.secret_of_webhooks, "Content-Type": "application/json"}
    webhooks = Webhooks(
        address=urlsplit(site.url).netloc,
        headers=headers,
        project_id=UNKNOWN_PROJECT,
        task_ids=[7],
        rate=RATE,
        seconds=seconds,
    )
    trivial = replace(webhooks, address=urlsplit(bare).netloc)
    send_together(*(replace(each, seconds=1.0) for each in (webhooks, trivial)))  # the first ones warm it up
    nobody = _figures_of(*send_together(webhooks, trivial))
    paths = paths_of(site.study)
    root = f"/studio/{{}}/{site.study.id}/run"
    crowd = page_crowd.Crowd(
        url=site.url,
        cookies=site.cookies,
        pages=tuple(paths[name] for name in _BROWSED),
        stream=f"{root.format('streams')}/{site.study.running}",
        download=f"{root.format('downloads')}/{site.study.run}/images.csv",
    )
    used = site.processor()
    with page_crowd.browsing(crowd) as browsed:
        people = _figures_of(*send_together(webhooks, trivial))
        people["processor_share"] = round((site.processor() - used) / seconds, 2)
    return {"rate": RATE, "nobody": nobody, "people": people | {"browsed": browsed}}


def _figures_of(webhooks: Webhooks, bare: Webhooks) -> dict[str, Any]:
    shares = (0.5, 0.95, 0.99)
    return {
        "sent": webhooks.sent,
        "refused": webhooks.refused,
        **{f"p{100 * share:.0f}_ms": webhooks.milliseconds(share) for share in shares},
        **{f"bare_p{100 * share:.0f}_ms": bare.milliseconds(share) for share in shares},
        "load_average": round(os.getloadavg()[0], 1),
    }


def _keyboard(installation: Installation, folder: Path) -> dict[str, float]:
    """Take a study to its first round, and judge it on the review sheet."""
    pack_folder = folder / "pack"
    plates.write_pack(pack_folder, lists=plates.GIVEN, counts=dict.fromkeys(plates.GIVEN, _PHOTOS))
    pack = read_pack(pack_folder)
    person = installation.label_studio
    url = installation.environment["DATAGEN_PUBLIC_URL"]
    with _services(installation.environment | {"DATAGEN_PREVIEW_SIZE": str(page_browser.VERDICTS)}) as (services, _):
        study_with_inputs(installation, services, pack, "keyboard")
        with Annotator(person.url, person.token, "keyboard") as annotator:
            annotator.await_previews(page_browser.VERDICTS, annotator.decide("build preview"), _ROUND_WITHIN_S)

        def study() -> StudyRow:
            with services.database.read() as session:
                return session.scalars(select(StudyRow).where(StudyRow.name == "keyboard")).one()

        wait_until(lambda: study().state is StudyState.REVIEWING, _ROUND_WITHIN_S, "The review")
        path = f"/studio/studies/{study().id}/round/1/review"
    with page_browser.chromium() as browser:
        return page_browser.judge_by_keyboard(browser, url, log_in(url, person), path)


def _on_postgresql(installation: Installation, folder: Path, chosen: argparse.Namespace, stack: ExitStack) -> _Site:
    """Start a web process on PostgreSQL beside the other one, until ``stack`` is closed, with the large study."""
    server = stack.enter_context(postgres_server.running())
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE pages")
        backend = connection.info.backend_pid
        postmaster = int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    port = free_port()
    environment = installation.environment | {
        "DATAGEN_DATABASE_URL": f"{server.replace('postgresql://', 'postgresql+psycopg://')}/pages",
        "DATAGEN_DATA_DIR": str(folder / "on-postgresql"),
        "DATAGEN_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "REDIS_URL": installation.environment["REDIS_URL"].rsplit("/", 1)[0] + "/1",
    }
    Path(environment["DATAGEN_DATA_DIR"]).mkdir()
    os.environ.update(environment)
    settings = Settings(_env_file=None)
    database = Database(settings.resolved_database_url)
    database.upgrade()
    database.close()
    join(settings, ProcessRole.WEB)
    processes = installation.processes
    command = [sys.executable, "-m", "datagen", "web"]
    web = processes.start(
        "web-postgresql", command, env=environment, cwd=folder, ready=partial(is_open, port), within=90
    )
    stack.callback(processes.stop, web)
    return _site(installation, environment, chosen, lambda: [web.pid, postmaster])


def _analyze(database: Database) -> None:
    """Collect the statistics of the tables, which PostgreSQL itself collects within a minute of so many new rows."""
    if database.engine.dialect.name == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
