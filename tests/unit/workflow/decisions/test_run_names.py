"""Runs of one name, on the in-memory Label Studio."""

from __future__ import annotations

from datagen.domain.lifecycle import StudyEvent
from datagen.store.tables.base import BatchKind
from fake_studio import FakeStudio
from studio import Study


def test_second_run_of_a_name_says_which_run_has_it_too(studio: FakeStudio, study: Study) -> None:
    for name in ("spring", "summer", "spring"):
        study.act(StudyEvent.APPROVE, count=1, name=name)
        studio.settle()
    first, other, second = study.batches(BatchKind.RUN)
    assert (first.warnings, other.warnings) == ([], [])
    [warning] = second.warnings
    assert f"run {first.number} has the name “spring” too. This is run {second.number}" in warning
    assert "has the name “spring” too" in study.page()
