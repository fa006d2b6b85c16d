"""Pictures are fetched and decoded once: failures and results are stored, and a reading keeps its time limit."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from datagen.domain.decision import Decision
from datagen.domain.inputs import Inputs, ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import LabelStudioUnavailable, NotReady
from datagen.imaging.png_encoder import encode_png
from datagen.label_studio.api.client import LabelStudio
from datagen.queue.recovery import sweep
from datagen.store.tables.base import now
from datagen.store.tables.inputs import FetchedPictureRow, InputReadingRow
from datagen.workflow.decisions import submit
from datagen.workflow.inputs import input_pictures
from datagen.workflow.inputs.input_jobs import read_inputs
from datagen.workflow.inputs.input_sync import refresh
from datagen.workflow.services import JobKind, JobRequest, Limits, Services
from stage.gateway import Answer, Forward, Gateway, Passing
from studio import Studio, Study, plate

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

BAD = encode_png(plate(900))[:2000]


class Way:
    """A gateway to Label Studio: counts the fetched pictures, and changes answers by the end of the picture's name."""

    def __init__(self, upstream: str) -> None:
        self.fetched: Counter[str] = Counter()
        self.treated: dict[str, Callable[[Forward], Answer | None]] = {}
        self.over = threading.Event()
        self.gateway = Gateway(upstream, meddler=self._pass)

    def _pass(self, passing: Passing, forward: Forward) -> Answer | None:
        if "/data/" not in passing.path:
            return forward()
        name = passing.path.rpartition("-")[2]
        self.fetched[name] += 1
        return self.treated.get(name, lambda forward: forward())(forward)

    def hang(self, forward: Forward) -> Answer | None:
        """Answer only when the test is over."""
        self.over.wait(60)
        return forward()


@pytest.fixture
def way(studio: Studio) -> Iterator[Way]:
    opened = Way(studio.server.url)
    yield opened
    opened.over.set()
    opened.gateway.close()


@pytest.fixture
def services(studio: Studio, way: Way) -> Iterator[Services]:
    """The studio's services, whose requests to Label Studio pass the recording gateway."""
    client = LabelStudio(way.gateway.url, studio.server.token, read_attempts=1)
    yield replace(studio.services, label_studio=client, enqueue=lambda _job_requests: None)
    client.close()


@pytest.fixture
def given(studio: Studio) -> Study:
    """A study of its own with six backgrounds, ``p0.png`` to ``p5.png``, and a bad one; nothing is read yet."""
    study = studio.open_study(inputs=False)
    pictures = [(f"p{n}.png", encode_png(plate(910 + n)), []) for n in range(6)]
    study.give(Role.BACKGROUND, [*pictures, ("bad.png", BAD, [])])
    return study


def stored(studio: Studio, study: Study) -> list[FetchedPictureRow]:
    with studio.rows() as session:
        return list(session.scalars(select(FetchedPictureRow).where(FetchedPictureRow.study_id == study.id)))


def make_due(studio: Studio, study: Study) -> None:
    with studio.services.database.write() as session:
        of_study = FetchedPictureRow.study_id == study.id, FetchedPictureRow.retry_at.is_not(None)
        session.execute(update(FetchedPictureRow).where(*of_study).values(retry_at=now() - timedelta(seconds=1)))


def reasons(inputs: Inputs) -> dict[str, str]:
    """Return the problems by the file's name."""
    return {problem.item.partition("(")[2].rstrip(")"): problem.reason for problem in inputs.problems}


def fetchers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fetch-picture")]


def test_a_bad_upload_is_fetched_and_decoded_once_however_often_inputs_are_read(
    services: Services, way: Way, given: Study
) -> None:
    for _ in range(3):
        inputs = refresh(services, given.id, force=True)
        assert inputs.count(Role.BACKGROUND) == 6
        assert "truncated or damaged" in reasons(inputs)["bad.png"]
    assert set(way.fetched.values()) == {1}


def test_a_bad_picture_is_tried_anew_when_the_limits_change(services: Services, way: Way, given: Study) -> None:
    small = replace(services, limits=Limits(image_bytes=3000, image_pixels=10**6))
    assert refresh(small, given.id, force=True).count(Role.BACKGROUND) == 0
    inputs = refresh(services, given.id, force=True)
    assert inputs.count(Role.BACKGROUND) == 6
    assert way.fetched["p0.png"] == 2


def test_a_picture_that_another_address_gives_is_tried_again_after_growing_waits(
    studio: Studio, services: Services, way: Way, given: Study
) -> None:
    way.treated["p0.png"] = lambda _forward: Answer(503)
    waits = []
    for times in (1, 2, 3):
        inputs = refresh(services, given.id, force=True)
        assert inputs.count(Role.BACKGROUND) == 5
        assert "It is tried again after" in reasons(inputs)["p0.png"]
        assert refresh(services, given.id, force=True) == inputs
        assert way.fetched["p0.png"] == times
        (row,) = (row for row in stored(studio, given) if row.retry_at is not None)
        assert row.retry_at is not None
        waits.append(row.retry_at - now())
        make_due(studio, given)
    assert waits[0] < waits[1] < waits[2]
    way.treated.clear()
    assert refresh(services, given.id, force=True).count(Role.BACKGROUND) == 6


def test_bytes_that_failed_before_are_not_decoded_again(studio: Studio, services: Services, given: Study) -> None:
    refresh(services, given.id, force=True)
    with studio.services.database.write() as session:  # as of an address whose bytes may change
        of_study = FetchedPictureRow.study_id == given.id, FetchedPictureRow.digest.is_(None)
        session.execute(update(FetchedPictureRow).where(*of_study).values(retry_at=now(), problem="as before"))
    inputs = refresh(services, given.id, force=True)
    assert reasons(inputs)["bad.png"].startswith("as before")


def test_the_sweeper_has_a_failed_picture_tried_again_when_it_is_due(
    studio: Studio, services: Services, way: Way, given: Study
) -> None:
    way.treated["p0.png"] = lambda _forward: Answer(503)
    read_inputs(services, given.id)
    request = JobRequest(JobKind.INPUTS, given.id)
    studio.queues.redis.flushdb()
    sweep(studio.services.database, studio.queues)
    assert request not in studio.queues.queued()
    make_due(studio, given)
    with studio.services.database.write() as session:
        session.get_one(InputReadingRow, given.id).due_at = now()
    sweep(studio.services.database, studio.queues)
    assert request in studio.queues.queued()
    way.treated.clear()
    assert refresh(services, given.id).count(Role.BACKGROUND) == 6


def test_one_picture_that_cannot_be_had_does_not_stop_the_others_while_label_studio_answers(
    services: Services, way: Way, given: Study
) -> None:
    way.treated["p3.png"] = lambda _forward: None  # the connection is closed without an answer
    inputs = refresh(services, given.id)
    assert inputs.count(Role.BACKGROUND) == 5
    assert "cannot be reached" in reasons(inputs)["p3.png"]


def test_a_slow_picture_is_given_up_its_thread_ends_and_the_others_are_used(
    services: Services, way: Way, given: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_pictures, "FIRST_TRY_SECONDS", 0.5)
    way.treated["p1.png"] = way.treated["p2.png"] = way.hang
    inputs = refresh(services, given.id)
    assert inputs.count(Role.BACKGROUND) == 4
    assert "had not arrived after 0.5 s" in reasons(inputs)["p1.png"]
    assert inputs.unread == 0
    assert fetchers() == []


def test_reading_stops_at_its_time_limit_and_the_next_one_continues(
    studio: Studio, services: Services, way: Way, given: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_pictures, "READING_SECONDS", 2.0)
    slow = [f"p{n}.png" for n in range(4)]
    way.treated |= dict.fromkeys(slow, way.hang)

    inputs = refresh(services, given.id)

    assert fetchers() == []  # what was given up does not go on
    assert inputs.unread >= 4
    assert any("still being read" in problem.reason for problem in inputs.problems)
    kept = {row.digest for row in stored(studio, given) if row.digest}
    assert given.row().inputs_read != given.row().inputs_changed
    fetched = way.fetched.copy()
    way.treated.clear()
    inputs = refresh(services, given.id)
    assert (inputs.count(Role.BACKGROUND), inputs.unread) == (6, 0)
    assert kept <= {row.digest for row in stored(studio, given)}
    assert given.row().inputs_read == given.row().inputs_changed
    once = {f"p{n}.png" for n in range(6)} - set(slow)
    assert all(way.fetched[name] == 1 for name in once if fetched[name])


def test_no_preview_is_built_while_pictures_are_still_being_read(
    studio: Studio, way: Way, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studio.open_study()
    monkeypatch.setattr(input_pictures, "READING_SECONDS", 1.0)
    way.treated["0.png"] = way.hang  # of every role, as Label Studio names uploads
    with pytest.raises(NotReady, match="still being read; decide again when the decision task no longer says so"):
        submit.decide(
            services,
            submit.DecisionCommand(study_id=study.id, decision=Decision(action=StudyEvent.BUILD_PREVIEW), who="ann"),
        )
    assert study.specs() == []
    way.treated.clear()
    monkeypatch.undo()
    submit.decide(
        services,
        submit.DecisionCommand(study_id=study.id, decision=Decision(action=StudyEvent.BUILD_PREVIEW), who="ann"),
    )
    assert len(study.specs()) == 1
    study.act(StudyEvent.CANCEL)


def test_interrupted_reading_keeps_its_pictures_and_blames_none(
    studio: Studio, services: Services, way: Way, given: Study
) -> None:
    asked = 0

    def go_away(passing: Passing, forward: Forward) -> Answer | None:
        nonlocal asked
        asked += "/data/" in passing.path
        return forward() if asked <= input_pictures.FETCHERS else None

    way.gateway.meddler = go_away
    with pytest.raises(LabelStudioUnavailable):
        refresh(services, given.id)
    assert fetchers() == []
    rows = stored(studio, given)
    assert rows  # the fifth was asked for when one of the first four was stored
    assert all(not row.problem or "damaged" in row.problem for row in rows)
    way.gateway.meddler = way._pass
    assert refresh(services, given.id).count(Role.BACKGROUND) == 6
    assert way.fetched.total() == 7 - len(rows)


def test_stored_results_are_deleted_with_the_task_and_with_the_study(
    studio: Studio, services: Services, given: Study
) -> None:
    refresh(services, given.id)
    assert len(stored(studio, given)) == 7
    (first, *_) = given.tasks(ProjectKind.BACKGROUNDS)
    studio.client.delete_tasks(given.projects[ProjectKind.BACKGROUNDS], [first.id])
    refresh(services, given.id, force=True)
    assert len(stored(studio, given)) == 6
