"""Fixtures of studios without servers (``fake_studio``), each with one study; a ``conftest`` imports them.

The study is brought into each state once, and every test gets a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.label_studio.api.in_memory import InMemoryLabelStudio
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.synthesis import engine
from datagen.workflow.decisions import batch_end
from fake_studio import FakeStudio, build, copy_of
from instant_engine import ENTRY_POINTS
from studio import Study

#: A studio with one study in a state.
Prepared = tuple[FakeStudio, Study]

#: The numbers on the forms of these actions.
_NUMBERS = {StudyEvent.AUDIT: {"audit_count": 3}, StudyEvent.APPROVE: {"count": 3}}


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instant engine beside the product's own; none is searched for on the disk, which takes longer than a test."""
    monkeypatch.setattr(engine, "_installed", lambda: ENTRY_POINTS)


@pytest.fixture(scope="session")
def in_state(tmp_path_factory: pytest.TempPathFactory) -> Callable[[StudyState, Path], Prepared]:
    """Returns a function that makes, in an empty folder, a studio whose study is in that state."""
    prepared: dict[StudyState, Prepared] = {}

    def collecting() -> Prepared:
        studio = build(tmp_path_factory.mktemp("studio"), InMemoryLabelStudio())
        studio.services.database.upgrade()
        study = studio.open_study()
        studio.settle()
        return studio, study

    def after(state: StudyState, *actions: StudyEvent, settle: bool) -> Prepared:
        studio, study = copy(state, tmp_path_factory.mktemp("studio"))
        for action in actions:
            study.act(action, **_NUMBERS.get(action, {}))
        if settle:
            studio.settle()
        return studio, study

    def study_in(state: StudyState) -> Prepared:
        match state:
            case StudyState.COLLECTING:
                return collecting()
            case StudyState.PREVIEWING:
                return after(StudyState.COLLECTING, StudyEvent.BUILD_PREVIEW, settle=False)
            case StudyState.REVIEWING:
                return after(StudyState.PREVIEWING, settle=True)
            case StudyState.AUDITING:
                return after(StudyState.REVIEWING, StudyEvent.AUDIT, settle=False)
            case StudyState.GENERATING:
                return after(StudyState.REVIEWING, StudyEvent.APPROVE, settle=False)
            case StudyState.PAUSED:
                studio, study = after(StudyState.GENERATING, settle=False)
                with studio.services.unit() as unit:
                    unit.lock_study(study.id)
                    run = unit.session.scalars(select(BatchRow).where(BatchRow.kind == BatchKind.RUN)).one()
                    batch_end.pause(unit, run, "an alarm")
                return studio, study
            case StudyState.ACCEPTED:
                return after(StudyState.GENERATING, settle=True)
            case StudyState.STOPPED:
                return after(StudyState.REVIEWING, StudyEvent.STOP, settle=True)

    def copy(state: StudyState, folder: Path) -> Prepared:
        if state not in prepared:
            prepared[state] = study_in(state)
        original, study = prepared[state]
        assert study.row().state is state
        studio = copy_of(original, folder)
        return studio, replace(study, studio=studio)

    return copy
