"""A study that is renamed while work on it begins, and another one that gets its name."""

from __future__ import annotations

from typing import Any

import pytest

from datagen.store.database import Database
from datagen.store.tables.studies import StudyRow


def let_another_take_the_name(database: Database, study_id: int, other_id: int) -> None:
    """Rename a study, and give its name to another one."""
    with database.write() as session:
        study, other = session.get_one(StudyRow, study_id), session.get_one(StudyRow, other_id)
        name, study.name = study.name, "renamed meanwhile"
        session.flush()
        other.name = name


def rename_before(patch: pytest.MonkeyPatch, module: Any, function: str, database: Database, *studies: int) -> None:
    """Let the second study take the first one's name at the moment at which the module calls the function."""
    real = getattr(module, function)

    def renamed(*args: Any, **options: Any) -> Any:
        let_another_take_the_name(database, *studies)
        return real(*args, **options)

    patch.setattr(module, function, renamed)
