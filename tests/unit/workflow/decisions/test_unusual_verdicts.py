"""Verdicts from which little follows: *refine* says what it makes of them, and never shows the same round again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.store.tables.base import BatchKind
from datagen.synthesis.engine import Engine
from datagen.workflow.sample_mapping import sample_of
from fake_studio_fixtures import Make, Prepared, beside_another
from instant_engine import InstantEngine
from studio import Study, text_of, verdict_result

GOOD, BAD = verdict_result("good"), verdict_result("bad")
TOO_LARGE = verdict_result("bad", "too large")


#: A study whose first round of eight waits for verdicts.
ROUND_OF_EIGHT = partial(beside_another, 8)


@pytest.fixture
def study(copy_of_made: Callable[[Make, Path], Prepared], tmp_path: Path) -> Iterator[Study]:
    studio, study = copy_of_made(ROUND_OF_EIGHT, tmp_path)
    yield study
    studio.close()


def seeds(study: Study) -> set[int]:
    """The seeds of the samples of the newest round."""
    return {sample_of(row).provenance.seed for row in study.samples_of(study.batches(BatchKind.ROUND)[-1])}


def refined(study: Study) -> str:
    """Refine; return the page of the next decision, whose round has no sample of the one before."""
    before = seeds(study)
    study.act(StudyEvent.REFINE)
    study.studio.settle()
    after = seeds(study)
    assert len(after) == 8
    assert not before & after
    return text_of(study.page())


@pytest.mark.parametrize(
    ("forms", "sentence"),
    [
        ([GOOD] * 8, "All 8 verdicts are good: the look stays as it was, and the new round shows new samples."),
        ([TOO_LARGE] * 8, "All 8 verdicts are bad, so that no draw is known to be wanted"),
        ([BAD, GOOD] * 4, "4 of 8 verdicts are bad, without a reason"),
        ([TOO_LARGE, GOOD, GOOD, TOO_LARGE], "2 of 4 verdicts say “too large”."),
        ([GOOD], "Nothing could be concluded yet: 1 verdict is on samples that record their draws"),
        ([], "No preview was judged before this refinement: the parameters stay as they were"),
    ],
    ids=["all good", "all bad", "no reasons", "judged in half", "one verdict", "none"],
)
def test_refinement_says_what_it_makes_of_them_and_shows_other_samples(
    study: Study, forms: list, sentence: str
) -> None:
    study.judge(*forms)
    study.studio.settle()
    assert sentence in refined(study)


def test_contradictory_verdicts_of_two_people_conclude_nothing_and_are_listed(study: Study) -> None:
    for person, forms in (((2, "ann@example.com"), [GOOD] * 8), ((3, "bob@example.com"), [BAD] * 8)):
        with study.studio.client.acting_as(*person):
            for task, form in zip(study.round_tasks(), forms, strict=True):
                study.studio.client.annotate(task.id, form)
    study.studio.settle()
    assert "Disputed: 8 images" in text_of(study.page())
    assert "Nothing could be concluded yet from 16 verdicts" in refined(study)


def test_verdicts_that_change_after_the_refinement_are_named_and_the_next_one_uses_what_counts(study: Study) -> None:
    first, *_ = study.judge(TOO_LARGE, GOOD, GOOD, TOO_LARGE)
    study.studio.settle()
    refined(study)
    study.studio.client.update_annotation(first, GOOD)
    study.studio.settle()
    page = text_of(study.page())
    assert "1 verdict on round 1 came or changed after it was refined; it is kept, and does not count." in page
    assert "The newest round has no verdict: the 4 verdicts on earlier rounds decide." in refined(study)


def test_verdicts_that_change_before_the_refinement_change_what_is_learned(study: Study) -> None:
    annotations = study.judge(*[TOO_LARGE] * 4, *[GOOD] * 4)
    study.studio.settle()
    for annotation in annotations[:4]:
        study.studio.client.update_annotation(annotation, GOOD)
    study.studio.settle()
    assert "All 8 verdicts are good" in refined(study)


def test_engine_without_learnable_parameters_says_so_and_shows_other_samples(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantEngine, "learnable", ())
    monkeypatch.setattr(InstantEngine, "refine", Engine.refine)
    study.judge(*[TOO_LARGE] * 8)
    study.studio.settle()
    page = refined(study)
    assert "has no setting that verdicts change: the next round shows new samples with the same settings." in page
