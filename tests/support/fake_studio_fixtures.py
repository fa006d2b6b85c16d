"""Fixtures of studios without servers (``fake_studio``), each with one study; a ``conftest`` imports them.

The study is brought into each state once, and every test gets a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
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

#: Makes one with its data in an empty folder.
Make = Callable[[Path], Prepared]

#: The numbers on the forms of these actions.
_NUMBERS = {StudyEvent.AUDIT: {"audit_count": 3}, StudyEvent.APPROVE: {"count": 3}}


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instant engine beside the product's own; none is searched for on the disk, which takes longer than a test."""
    monkeypatch.setattr(engine, "_installed", lambda: ENTRY_POINTS)


#: What each function made, for the tests of all folders.
_MADE: dict[Make, Prepared] = {}


@pytest.fixture(scope="session")
def copy_of_made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make, Path], Prepared]:
    """Returns a function that makes, in an empty folder, a copy of what the given function makes.

    That one is called once, by the first test that needs it.
    """

    def copy(make: Make, folder: Path) -> Prepared:
        return _copy_of_made(make, folder, tmp_path_factory.mktemp("studio"))

    return copy


@pytest.fixture(scope="session")
def in_state(copy_of_made: Callable[[Make, Path], Prepared]) -> Callable[[StudyState, Path], Prepared]:
    """Returns a function that makes, in an empty folder, a studio whose study is in that state."""

    def copy(state: StudyState, folder: Path) -> Prepared:
        studio, study = copy_of_made(_MAKERS[state], folder)
        assert study.row().state is state
        return studio, study

    return copy


def _copy_of_made(make: Make, folder: Path, empty: Path) -> Prepared:
    if make not in _MADE:
        _MADE[make] = make(empty)
    original, study = _MADE[make]
    studio = copy_of(original, folder)
    return studio, replace(study, studio=studio)


def made_in(state: StudyState, folder: Path) -> Prepared:
    """Make, in an empty folder, a studio with one study, which is brought into that state."""
    match state:
        case StudyState.COLLECTING:
            return _collecting(folder)
        case StudyState.PREVIEWING:
            return _after(folder, StudyState.COLLECTING, StudyEvent.BUILD_PREVIEW, settle=False)
        case StudyState.REVIEWING:
            return _after(folder, StudyState.PREVIEWING, settle=True)
        case StudyState.AUDITING:
            return _after(folder, StudyState.REVIEWING, StudyEvent.AUDIT, settle=False)
        case StudyState.GENERATING:
            return _after(folder, StudyState.REVIEWING, StudyEvent.APPROVE, settle=False)
        case StudyState.PAUSED:
            studio, study = _after(folder, StudyState.GENERATING, settle=False)
            with studio.services.unit() as unit:
                unit.lock_study(study.id)
                run = unit.session.scalars(select(BatchRow).where(BatchRow.kind == BatchKind.RUN)).one()
                batch_end.pause(unit, run, "an alarm")
            return studio, study
        case StudyState.ACCEPTED:
            return _after(folder, StudyState.GENERATING, settle=True)
        case StudyState.STOPPED:
            return _after(folder, StudyState.REVIEWING, StudyEvent.STOP, settle=True)


def beside_another(preview_size: int, folder: Path) -> Prepared:
    """Make, in an empty folder, a studio with two studies under review.

    The first round of the second, which is returned, has ``preview_size`` images.
    """
    studio, _ = made_in(StudyState.REVIEWING, folder)
    study = studio.open_study(preview_size=preview_size)
    studio.settle()
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.settle()
    return studio, study


_MAKERS: dict[StudyState, Make] = {state: partial(made_in, state) for state in StudyState}


def _collecting(folder: Path) -> Prepared:
    studio = build(folder, InMemoryLabelStudio())
    studio.services.database.upgrade()
    study = studio.open_study()
    studio.settle()
    return studio, study


def _after(folder: Path, state: StudyState, *actions: StudyEvent, settle: bool) -> Prepared:
    before = folder / "before"
    before.mkdir()
    studio, study = _copy_of_made(_MAKERS[state], folder, before)
    for action in actions:
        study.act(action, **_NUMBERS.get(action, {}))
    if settle:
        studio.settle()
    return studio, study
