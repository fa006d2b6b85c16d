"""Verdicts follow the events of a real Label Studio; ``tests/unit/workflow/reviews`` has what follows from them."""

from __future__ import annotations

import pytest

from datagen.domain.inputs import ProjectKind
from studio import Studio, Study, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def kept(study: Study) -> list[tuple[str, list[str], str, bool]]:
    return [(str(row.opinion), row.reasons, row.comment, row.late) for row in study.verdicts()]


def test_a_verdict_follows_its_annotation_through_change_skip_and_deletion(studio: Studio, study: Study) -> None:
    study.review()
    first, second, third = study.judge(
        verdict_result("good"),
        verdict_result("bad", "too small", "wrong place", comment="hardly there"),
        verdict_result("bad"),
    )
    studio.settle()
    assert kept(study) == [
        ("good", [], "", False),
        ("bad", ["too small", "wrong place"], "hardly there", False),
        ("bad", [], "", False),
    ]
    assert all(studio.server.email in row.reviewer for row in study.verdicts())

    studio.client.update_annotation(first, verdict_result("bad", "too strong"))
    studio.client.delete_annotation(second)
    study.change(third, was_cancelled=True)
    studio.settle()

    assert kept(study) == [("bad", ["too strong"], "", False)]
    assert "too strong (1)" in study.page()


def test_a_verdict_that_is_moved_from_a_copy_to_the_task_is_kept(studio: Studio, study: Study) -> None:
    """“Remove Duplicated Tasks” of the Data Manager."""
    study.review()
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, with_annotations=False)
    study.judge(verdict_result("good"))
    studio.client.annotate(copy, verdict_result("bad", "edges show"))
    studio.settle()
    study.remove_duplicates(ProjectKind.PREVIEWS)
    studio.settle()
    assert kept(study) == [("good", [], "", False), ("bad", ["edges show"], "", False)]
