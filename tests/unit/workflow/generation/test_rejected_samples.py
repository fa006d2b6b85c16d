"""Audits and runs leave out what the critic of their version is sure is bad, and say so."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Spec
from datagen.domain.trace import InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Verdict
from datagen.errors import NotReady
from datagen.export.selection import Selection
from datagen.learning.critic import learn_critic
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.synthesis.composite.draws import LEARNABLE
from datagen.synthesis.engine import ReviewedSample
from datagen.web.prediction_lookup import predictions_of
from datagen.workflow.rejection import CANDIDATES, Rejections
from datagen.workflow.sample_mapping import trace_of
from datagen.workflow.studies.export import export_study
from fake_studio import FakeStudio
from studio import ROUND, Study, text_of

#: The engine draws the sizes 1.0 to 1.4, by the index. A reviewer who accepts these rejects two of five.
ACCEPTED = 1.25


def critic_of(largest: float = ACCEPTED, reject_below: float = 0.2):
    """The critic of a reviewer who accepts sizes up to ``largest``."""
    chance = np.random.default_rng(0)
    judged = []
    for size in chance.uniform(0.8, 1.6, 80).round(3).tolist():
        opinion = Opinion.GOOD if size < largest else Opinion.BAD
        judged.append(
            ReviewedSample(
                trace=Trace(instances=(InstanceTrace(draws={"size": size}),)), verdict=Verdict(opinion=opinion)
            )
        )
    critic = learn_critic(LEARNABLE, judged, reject_below).critic
    assert critic is not None
    return critic


@pytest.fixture(scope="module")
def critic():
    return critic_of()


def give_critic(study: Study, critic) -> None:
    """Make the study's version one that was refined with this critic."""
    with study.studio.services.database.write() as session:
        row = session.get_one(SpecRow, study.specs()[-1].id)
        body = {**row.body, "critic": critic.to_json()}
        row.body, row.digest = body, Spec.from_json(body).digest


def sizes_of(study: Study, batch: BatchRow) -> list[float]:
    samples = study.samples_of(batch)
    return [float(trace_of(sample).instances[0].draws["size"]) for sample in samples]


def approve(study: Study, count: int) -> BatchRow:
    study.act(StudyEvent.APPROVE, count=count)
    study.studio.settle()
    return study.batches(BatchKind.RUN)[-1]


def test_run_delivers_the_number_asked_for_without_what_is_surely_bad(study: Study, critic) -> None:
    give_critic(study, critic)
    run = approve(study, 10)
    assert len(study.samples_of(run)) == 10
    assert max(sizes_of(study, run)) < ACCEPTED
    assert f"The critic rejected {Rejections.from_json(run.rejections).rejected} of" in text_of(study.page())
    rejections = Rejections.from_json(run.rejections)
    assert rejections.rejected == rejections.candidates - 10 > 0
    assert rejections.exhausted == 0
    assert rejections.why == {"size": rejections.rejected}


def test_candidates_that_are_not_rejected_are_those_of_a_run_without_critic(study: Study, critic) -> None:
    """Rejection leaves samples out; it does not change which are drawn first."""
    give_critic(study, critic)
    run = approve(study, 10)
    indices = {sample.index for sample in study.samples_of(run)}
    first = range(run.first, run.first + 10)
    assert {index for index in first if index % 5 < 3} <= indices
    assert all(run.first <= index < run.first + run.reserved for index in indices)
    assert run.reserved == CANDIDATES * run.stride >= 10 * CANDIDATES


def test_later_batch_of_the_version_repeats_no_candidate(study: Study, critic) -> None:
    give_critic(study, critic)
    first, second = approve(study, 5), approve(study, 5)
    assert second.first == first.first + first.reserved


def test_audit_is_drawn_as_a_run_would_be(study: Study, critic) -> None:
    give_critic(study, critic)
    study.act(StudyEvent.AUDIT, audit_count=10)
    study.studio.settle()
    (audit,) = study.batches(BatchKind.AUDIT)
    assert max(sizes_of(study, audit)) < ACCEPTED
    assert "The critic rejected" in text_of(study.page())
    posted = [task for task in study.tasks(ProjectKind.PREVIEWS) if str(task.data["batch"]).startswith("audit-")]
    assert sorted(int(task.data["index"]) for task in posted) == [*range(1, 11)]


def test_places_without_a_good_candidate_have_the_best_one_and_say_so(study: Study) -> None:
    give_critic(study, critic_of(largest=0.95))
    run = approve(study, 6)
    rejections = Rejections.from_json(run.rejections)
    assert (rejections.exhausted, rejections.candidates) == (6, 6 * CANDIDATES)
    best = [
        min(1.0 + (run.first + place + number * run.stride) % 5 / 10 for number in range(CANDIDATES))
        for place in range(6)
    ]
    assert sorted(sizes_of(study, run)) == sorted(best)
    assert "For 6 images all 4 candidates were bad" in text_of(study.page())


def test_version_without_critic_or_with_rejection_off_rejects_nothing(study: Study, critic) -> None:
    run = approve(study, 5)
    assert (run.reserved, run.rejections) == (5, None)
    give_critic(study, critic.model_copy(update={"reject_below": 0.0}))
    run = approve(study, 5)
    assert (run.reserved, run.rejections) == (5, None)
    assert max(sizes_of(study, run)) > ACCEPTED


def test_round_shows_samples_as_they_are_drawn(study: Study, critic) -> None:
    give_critic(study, critic)
    study.act(StudyEvent.BUILD_PREVIEW)
    study.studio.settle()
    newest = study.batches(BatchKind.ROUND)[-1]
    assert study.specs()[-1].body["critic"] == critic.to_json()
    assert [sample.index for sample in study.samples_of(newest)] == [*range(ROUND)]
    stored = [sample.body for sample in study.samples_of(newest)]
    assert all(0 < body["probability"] < 1 and body["measured"] for body in stored)


def test_previews_of_which_the_critic_is_least_certain_are_judged_first(study: Study, critic) -> None:
    give_critic(study, critic)
    study.act(StudyEvent.BUILD_PREVIEW)
    study.studio.settle()
    probabilities = {s.key: s.body["probability"] for s in study.samples_of(study.batches(BatchKind.ROUND)[-1])}
    tasks = [task for task in study.tasks(ProjectKind.PREVIEWS) if task.data["datagen_key"] in probabilities]
    doubts = [abs(probabilities[str(task.data["datagen_key"])] - 0.5) for task in sorted(tasks, key=lambda t: t.id)]
    assert doubts == sorted(doubts)
    assert len(set(doubts)) > 1
    lateness = [study.studio.client.predictions(task.id)[0]["score"] for task in sorted(tasks, key=lambda t: t.id)]
    assert lateness == pytest.approx([2 * doubt for doubt in doubts], abs=1e-3)
    posted = {task.data["datagen_key"]: study.studio.client.predictions(task.id)[0]["score"] for task in tasks}
    looked_up = predictions_of(study.studio.services.database, [{"data": task.data} for task in tasks])
    assert [prediction["score"] for prediction in looked_up] == [posted[task.data["datagen_key"]] for task in tasks]


def test_rejected_candidates_can_be_looked_at(study: Study, studio: FakeStudio, critic, tmp_path: Path) -> None:
    give_critic(study, critic)
    run = approve(study, 10)
    target = tmp_path / "rejected.zip"
    export_study(studio.services, study.name, target, selection=Selection(runs=(run.number,)), rejected=True)
    with zipfile.ZipFile(target) as archive:
        images = [name for name in archive.namelist() if name.startswith("images/")]
    assert len(images) == Rejections.from_json(run.rejections).rejected
    with studio.rows() as session:
        kept = session.query(SampleRow).join(BatchRow).where(BatchRow.kind == BatchKind.REJECTED).all()
        assert {row.task_id for row in kept} == {None}
        assert all(trace_of(row).instances[0].draws["size"] > ACCEPTED for row in kept)


def test_export_of_nothing_rejected_says_so(study: Study, studio: FakeStudio, tmp_path: Path) -> None:
    approve(study, 3)
    with pytest.raises(NotReady, match="the critic rejected nothing"):
        export_study(studio.services, study.name, tmp_path / "rejected.zip", rejected=True)
