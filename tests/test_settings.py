"""Settings: what the environment may say, what is refused, and that the README tells all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from datagen.errors import SettingsProblem
from datagen.settings import Settings
from stage.layout import ROOT
from stage.settings_table import settings_table, with_table


def made(tmp_path: Path, **given: object) -> Settings:
    return Settings(_env_file=None, **{"data_dir": tmp_path / "data", **given})


def test_the_readme_tells_every_setting_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(readme) == readme, "run: PYTHONPATH=scripts python -m stage.settings_table"


def test_the_table_has_a_described_row_for_every_setting() -> None:
    rows = settings_table().splitlines()[2:]
    assert len(rows) == len(Settings.model_fields)
    assert "| `LABEL_STUDIO_URL` | `http://localhost:8080` | Where this process reaches Label Studio. |" in rows
    assert all(len(row.split("|")[3].strip()) > 10 for row in rows)


def test_a_readme_without_the_markers_is_told_so() -> None:
    with pytest.raises(ValueError, match="lacks the markers"):
        with_table("# Datagen")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LABEL_STUDIO_URL", "localhost:8080"),  # the scheme is forgotten
        ("DATAGEN_PUBLIC_URL", "ftp://datagen"),
        ("PORT", "99999"),
        ("PORT", "http"),
        ("LOG_LEVEL", "LOUD"),
        ("DATAGEN_PREVIEW_SIZE", "0"),
        ("DATAGEN_SHARD_SIZE", "1000000"),
        ("DATAGEN_MAX_IMAGE_BYTES", "-1"),
    ],
)
def test_a_wrong_value_is_refused_with_the_variables_name(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)
    assert [error["loc"] for error in refused.value.errors()] == [(variable,)]


def test_an_address_may_end_with_a_slash(tmp_path: Path) -> None:
    assert made(tmp_path, public_url="https://datagen.example/").own_url == "https://datagen.example"


def test_a_missing_token_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="LABEL_STUDIO_API_KEY is not set: copy a token"):
        _ = made(tmp_path, label_studio_api_key="").api_key


def test_a_secret_is_made_once_for_all_processes_and_kept_from_others(tmp_path: Path) -> None:
    first, second = made(tmp_path), made(tmp_path)
    assert len(first.secret_of_webhooks) > 30
    assert second.secret_of_webhooks == first.secret_of_webhooks
    assert first.password != first.secret_of_webhooks
    kept = tmp_path / "data" / "secrets" / "webhook_secret"
    assert kept.stat().st_mode & 0o077 == 0
    assert [path.name for path in kept.parent.iterdir() if path.name.startswith(".")] == []


def test_a_configured_secret_counts_before_a_kept_one(tmp_path: Path) -> None:
    assert made(tmp_path).secret_of_webhooks != "given"
    assert made(tmp_path, webhook_secret="given").secret_of_webhooks == "given"


def test_no_secret_is_shown_when_settings_are_printed(tmp_path: Path) -> None:
    shown = repr(made(tmp_path, label_studio_api_key="sesame-1", basic_auth_pass="sesame-2", webhook_secret="sesame-3"))
    assert "sesame" not in shown
