"""Proposals are computed by a worker, shown when a task is opened, and computed again when their inputs change."""

from __future__ import annotations

import threading

import httpx
import numpy as np
import pytest
from sqlalchemy import delete, select

from datagen.domain.inputs import ProjectKind, Role
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.imaging.png_encoder import encode_png
from datagen.store.tables.inputs import ProposalRow
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.generation.shard_rendering import FittedEngineCache
from datagen.workflow.inputs import suggestions
from datagen.workflow.inputs.input_jobs import make_proposals
from datagen.workflow.inputs.input_requests import request_proposals
from datagen.workflow.inputs.suggestions import propose
from datagen.workflow.services import JobKind, JobRequest
from studio import Studio, Study, box, plate

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def opened(studio: Studio, task_id: int) -> list[dict]:
    """The predictions of an opened task: Label Studio requests them from the ML backend."""
    headers = {"Authorization": f"Token {studio.server.token}"}
    answer = httpx.get(f"{studio.server.url}/api/tasks/{task_id}/", headers=headers, timeout=30)
    return answer.raise_for_status().json()["predictions"]


def kinds(prediction: dict) -> list[str]:
    return [region["from_name"] for region in prediction["result"]]


def test_the_outline_found_in_a_drawn_box_is_shown_with_the_box(studio: Studio, study: Study) -> None:
    (prediction,) = opened(studio, study.tasks(ProjectKind.CONCEPTS)[0].id)
    assert kinds(prediction)[0] == "concept"
    assert "outline" in kinds(prediction)


def test_learned_area_is_shown_on_a_canvas_without_drawings(studio: Studio) -> None:
    study = studio.open_study()
    (blank,) = study.give(Role.CANVAS, [("blank.png", encode_png(plate(777)), [])])
    studio.settle()
    (prediction,) = opened(studio, blank)
    assert set(kinds(prediction)) == {"canvas"}


def test_boxes_that_match_the_drawn_ones_are_shown_on_a_concept_photo_without_drawings(studio: Studio) -> None:
    study = studio.open_study()
    (blank,) = study.give(Role.CONCEPT, [("blank.png", encode_png(plate(779, pit=(60, 40))), [])])
    studio.settle()
    (prediction,) = opened(studio, blank)
    best = prediction["result"][0]
    assert set(kinds(prediction)) == {"concept"}
    assert prediction["score"] == best["score"] > 0.5
    centre = [best["value"][side] + best["value"][extent] / 2 for side, extent in (("x", "width"), ("y", "height"))]
    assert centre == pytest.approx([100 * 60 / 128, 100 * 40 / 96], abs=5)


def test_shown_proposal_is_renewed_when_its_inputs_change(studio: Studio) -> None:
    study = studio.open_study()
    studio.settle()
    task = study.tasks(ProjectKind.CONCEPTS)[0]
    before = opened(studio, task.id)[0]["result"]
    assert task.newest is not None
    moved = [{**region, "value": {**region["value"], "width": 20.0}} for region in task.newest.result]
    studio.client.update_annotation(task.newest.id, moved)
    studio.settle()
    (after,) = studio.client.predictions(task.id)
    assert after["result"][0]["value"]["width"] == pytest.approx(20.0)
    assert after["result"] != before


def proposals(studio: Studio, study: Study) -> dict[int, int]:
    """Return the number of proposed regions by task."""
    with studio.rows() as session:
        rows = session.scalars(select(ProposalRow).where(ProposalRow.study_id == study.id))
        return {row.task_id: len(row.prediction["result"]) for row in rows}


def forget(studio: Studio, study: Study) -> None:
    with studio.services.database.write() as session:
        session.execute(delete(ProposalRow).where(ProposalRow.study_id == study.id))


def test_a_picture_that_does_not_decode_costs_its_own_proposal_alone(studio: Studio) -> None:
    study = studio.open_study()
    large = encode_png(np.tile(plate(778, pit=(60, 40)), (2, 2)))
    (too_large,) = study.give(Role.CONCEPT, [("large.png", large, [box(20, 20, 10, 10)])])
    studio.settle()
    forget(studio, study)
    small = DecoderSandbox(max_bytes=10**6, max_pixels=128 * 96)
    assert propose(studio.services, StoredPictures(studio.services.images, small), study.id, threading.Event())
    small.close()
    counts = proposals(studio, study)
    assert counts.pop(too_large) == 0  # and it is not tried again at every reading
    assert len(counts) == 6
    assert all(counts.values())


def test_proposals_over_the_time_limit_are_stored_and_another_job_continues(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studio.open_study()
    studio.settle()
    forget(studio, study)
    monkeypatch.setattr(suggestions, "PROPOSING_SECONDS", 0.0)
    fitted_engines = FittedEngineCache(studio.services)
    with studio.services.unit() as unit:
        request_proposals(unit, unit.lock_study(study.id))
    for count in range(1, 7):
        make_proposals(studio.services, fitted_engines, study.id)
        assert len(proposals(studio, study)) == count
        assert JobRequest(JobKind.PROPOSALS, study.id) in studio.queues.queued()
        studio.queues.redis.flushdb()
    make_proposals(studio.services, fitted_engines, study.id)
    assert studio.queues.queued() == set()
