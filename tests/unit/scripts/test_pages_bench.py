"""The bench of pages: its rows make a study whose pages answer, its figures, and what it counts as missed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from benches import large_study, page_visits, pages
from benches.large_study import GALLERY, VERSIONS, LargeStudy, add_large_study, store_pictures
from datagen.domain.inputs import ProjectKind, Role
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SampleFactsRow, SampleRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.study_pages.gallery_view import GalleryFilter, batch_of, gallery_of
from datagen.workflow.study_pages.home_view import home_of
from datagen.workflow.study_pages.inputs_page_view import InputStatus, inputs_page_of
from datagen.workflow.study_pages.run_view import figures_of, run_of
from datagen.workflow.study_pages.sample_view import sample_row_of, sample_view_of
from datagen.workflow.study_pages.study_view import study_of

#: Number of samples of the large run, and of stored pictures.
SAMPLES, PICTURES = 80, 3


@pytest.fixture
def images(tmp_path: Path) -> BlobStore:
    return BlobStore(f"file://{tmp_path / 'store'}")


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    file = tmp_path / "rows.sqlite3"
    file.write_bytes(migrated_file.read_bytes())
    opened = Database(f"sqlite:///{file}")
    yield opened
    opened.close()


@pytest.fixture
def large(database: Database, images: BlobStore, monkeypatch: pytest.MonkeyPatch) -> LargeStudy:
    monkeypatch.setattr(large_study, "_WRITTEN", SAMPLES // 2 - 5)  # most samples of the run are copies
    with database.write() as session:
        study = StudyRow(name="large", labels=["scratch"], engine="composite", preview_size=20)
        session.add(study)
        session.flush()
        study_id = study.id
        session.add_all(
            ProjectRow(project_id=number, study_id=study_id, kind=kind) for number, kind in enumerate(ProjectKind, 1)
        )
    return add_large_study(database, study_id, store_pictures(images, PICTURES), SAMPLES)


def test_every_page_of_the_study_can_be_read(database: Database, images: BlobStore, large: LargeStudy) -> None:
    with database.read() as session:
        assert home_of(session, None, "", None).cards
        assert len(study_of(session, large.id, None).versions) + study_of(session, large.id, None).older == VERSIONS
        for role in Role:
            photos = inputs_page_of(session, large.id, None, role).photos
            assert {photo.status for photo in photos} == {InputStatus.USED}
        gallery = gallery_of(session, batch_of(session, large.id, BatchKind.ROUND, large.round, None), GalleryFilter())
        assert gallery.matching == GALLERY
        run = batch_of(session, large.id, BatchKind.RUN, large.run, None)
        assert run_of(session, run, figures_of(session, run)).matching == SAMPLES
        sample = sample_view_of(session, sample_row_of(session, large.id, large.sample_id, None))
        assert images.exists(sample.image.digest)
        assert images.exists(sample.background.digest)
        running = batch_of(session, large.id, BatchKind.RUN, large.running, None)
        assert session.scalar(select(func.count()).where(SampleRow.batch_id == running.id)) == running.count
        for table in (SampleRow, SampleFactsRow):
            indices = session.scalars(select(table.index).where(table.batch_id == run.id).order_by(table.index))
            assert indices.all() == list(range(SAMPLES))


def test_pictures_differ(images: BlobStore) -> None:
    assert len({picture["digest"] for picture in store_pictures(images, 25)}) == 25


def test_a_page_is_measured_in_turn_with_a_trivial_one() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.url.host}{request.url.path}")
        return httpx.Response(200)

    used = iter([1.0, 1.5])
    transport = httpx.MockTransport(answer)
    with (
        httpx.Client(base_url="http://pages", transport=transport) as client,
        httpx.Client(base_url="http://bare", transport=transport) as bare,
    ):
        figures = page_visits.measure(client, bare, {"home": "/studio/"}, 2, lambda: next(used))
    assert asked == ["pages/studio/", *["pages/studio/", "bare/"] * 2]
    assert figures["home"]["processor_ms"] == 250.0


def test_a_page_that_does_not_answer_is_no_figure() -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(404))
    with httpx.Client(base_url="http://pages", transport=transport) as client, pytest.raises(httpx.HTTPStatusError):
        page_visits.measure(client, client, {"home": "/studio/"}, 1, lambda: 0.0)


def test_processor_time_of_this_process_grows() -> None:
    before = page_visits.processor_seconds([os.getpid()])
    while page_visits.processor_seconds([os.getpid()]) == before:
        pass
    assert page_visits.processor_seconds([]) == 0.0


def test_what_is_over_its_limit_is_named() -> None:
    page = {"p95_ms": 200.0}
    whole = {"median_s": 1.5, "largest_bytes": 20_000}
    figures = {
        "sqlite": {"pages": {"home": page}},
        "postgresql": {"pages": {"home": page}},
        "gallery": {"whole": whole, "first_visits": {"home": {"bytes": 250_000}}},
        "keyboard": {"shown_s": 25.0, "verdicts": 20},
        "webhooks": {"nobody": {"p99_ms": 20.0}, "people": {"p99_ms": 40.0}},
    }
    assert pages.missed(figures) == []
    assert pages.missed({}) == []
    worse = {
        "sqlite": {"pages": {"home": page, "study": {"p95_ms": 200.1}}},
        "postgresql": {"pages": {"run list": {"p95_ms": 300.0}}},
        "gallery": {
            "whole": {"median_s": 1.6, "largest_bytes": 20_001},
            "first_visits": {"home": {"bytes": 250_001}},
        },
        "keyboard": {"shown_s": 25.1, "verdicts": 20},
        "webhooks": {"nobody": {"p99_ms": 20.0}, "people": {"p99_ms": 40.1}},
    }
    assert len(pages.missed(worse)) == 7
