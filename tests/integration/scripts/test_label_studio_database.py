"""A new Label Studio gets a copy of a migrated database: whole or not at all, made once, and without secrets."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stage.label_studio_database import DATABASE, provide
from stage.label_studio_server import LabelStudio


@pytest.mark.integration
def test_database_that_is_copied_holds_no_user_and_no_token(label_studio: LabelStudio, tmp_path: Path) -> None:
    provide(tmp_path, {})
    rows = sqlite3.connect(tmp_path / DATABASE)
    for table in ("htx_user", "authtoken_token", "organization", "django_session", "project"):
        assert rows.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    rows.close()
