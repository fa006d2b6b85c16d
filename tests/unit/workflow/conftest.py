"""Studios without servers (``fake_studio``), each with one study.

The study is brought into each state once, and every test gets a copy of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datagen.domain.lifecycle import StudyState
from fake_studio import FakeStudio
from fake_studio_fixtures import Prepared, _engines, copy_of_made, in_state  # noqa: F401 - fixtures
from studio import Study


@pytest.fixture
def _prepared(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811
    tmp_path: Path,
) -> Iterator[Prepared]:
    studio, study = in_state(StudyState.REVIEWING, tmp_path)
    yield studio, study
    studio.close()


@pytest.fixture
def studio(_prepared: Prepared) -> FakeStudio:
    """A studio with one study, ``study``."""
    return _prepared[0]


@pytest.fixture
def study(_prepared: Prepared) -> Study:
    """A study with just enough inputs, whose first round waits for verdicts."""
    return _prepared[1]
