"""Settings: which values are accepted and refused, and that the README lists all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from datagen.errors import SecretProblem, SettingsProblem
from datagen.settings import Settings
from forked_command import run_datagen
from stage.layout import ROOT
from stage.settings_table import settings_table, with_table


def settings_from(tmp_path: Path, **given: object) -> Settings:
    return Settings(_env_file=None, **{"data_dir": tmp_path / "data", **given})


def test_table_of_the_readme_is_up_to_date() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_table(readme) == readme, "run: PYTHONPATH=scripts python -m stage.settings_table"


def test_the_table_has_a_described_row_for_every_setting() -> None:
    rows = settings_table().splitlines()[2:]
    assert len(rows) == len(Settings.model_fields)
    assert (
        "| `LABEL_STUDIO_URL` | `http://localhost:8080` | Address at which this process reaches Label Studio. |" in rows
    )
    assert all(len(row.split("|")[3].strip()) > 10 for row in rows)


def test_readme_without_the_markers_is_refused() -> None:
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


def test_a_variable_of_another_program_is_no_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STORE_URL=s3://theirs\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://of-another-program/theirs")
    monkeypatch.setenv("ENGINE", "theirs")
    read = Settings(_env_file=tmp_path / ".env")
    assert (read.database_url, read.engine, read.store_url) == ("", "composite", "")


def test_default_engine_is_not_taken_for_a_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATAGEN_ENGINE", raising=False)
    assert (settings_from(tmp_path).engine, settings_from(tmp_path).chosen_engine) == ("composite", None)
    (tmp_path / ".env").write_text("DATAGEN_ENGINE=composite\n")
    assert Settings(_env_file=tmp_path / ".env").chosen_engine == "composite"
    monkeypatch.setenv("DATAGEN_ENGINE", "diffusion")
    assert Settings(_env_file=None).chosen_engine == "diffusion"


@pytest.mark.parametrize("broken", ["{weights: /models}", '{"weights": "/models"', "/models", "[1]", '"text"'])
def test_parameters_that_are_no_json_show_how_they_are_written(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They ended in a traceback about “engine_parameters”, which is no variable."""
    monkeypatch.setenv("DATAGEN_ENGINE_PARAMETERS", broken)
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)
    [error] = refused.value.errors()
    assert error["loc"] == ("DATAGEN_ENGINE_PARAMETERS",)
    assert """e.g. DATAGEN_ENGINE_PARAMETERS='{"weights": "/models/sd15-inpainting"}'""" in error["msg"]


def test_parameters_of_the_environment_are_not_mixed_with_those_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("""DATAGEN_ENGINE_PARAMETERS='{"weights": "/old", "variant": "fp16"}'\n""")
    assert Settings(_env_file=tmp_path / ".env").engine_parameters == {"weights": "/old", "variant": "fp16"}
    monkeypatch.setenv("DATAGEN_ENGINE_PARAMETERS", '{"weights": "/new"}')
    assert Settings(_env_file=tmp_path / ".env").engine_parameters == {"weights": "/new"}
    monkeypatch.setenv("DATAGEN_ENGINE_PARAMETERS", "")
    assert Settings(_env_file=tmp_path / ".env").engine_parameters == {}


def test_an_address_may_end_with_a_slash(tmp_path: Path) -> None:
    assert settings_from(tmp_path, public_url="https://datagen.example/").own_url == "https://datagen.example"


def test_a_missing_token_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsProblem, match="LABEL_STUDIO_API_KEY is not set: copy a token"):
        _ = settings_from(tmp_path, label_studio_api_key="").api_key


def test_a_secret_is_made_once_for_all_processes_and_kept_from_others(tmp_path: Path) -> None:
    first, second = settings_from(tmp_path), settings_from(tmp_path)
    assert first.make_missing_secrets() == ["webhook_secret", "basic_auth_pass", "signing_key"]
    assert second.make_missing_secrets() == []
    assert len(first.secret_of_webhooks) > 30
    assert second.secret_of_webhooks == first.secret_of_webhooks
    assert first.password != first.secret_of_webhooks
    kept = tmp_path / "data" / "secrets" / "webhook_secret"
    assert kept.stat().st_mode & 0o077 == 0
    assert [path.name for path in kept.parent.iterdir() if path.name.startswith(".")] == []


SECRETS = (
    "BASIC_AUTH_PASS",
    "DATAGEN_BASIC_AUTH_PASS_PREVIOUS",
    "DATAGEN_WEBHOOK_SECRET",
    "DATAGEN_WEBHOOK_SECRET_PREVIOUS",
)


@pytest.mark.parametrize("variable", SECRETS)
def test_too_short_secret_is_refused_with_the_fix(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "sesame")
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)
    [error] = refused.value.errors()
    assert error["loc"] == (variable,)
    assert f"{variable} has 6 characters and could be guessed; at least 16 are needed." in error["msg"]
    assert error["msg"].endswith("Make one: openssl rand -hex 32")
    assert "sesame" not in str(refused.value)
    monkeypatch.setenv(variable, "sixteen-letters!")
    Settings(_env_file=None)


@pytest.mark.parametrize("variable", SECRETS)
def test_process_with_a_too_short_secret_does_not_start(variable: str, tmp_path: Path) -> None:
    result = run_datagen("web", env={**os.environ, variable: "abc"}, cwd=tmp_path)
    assert result.returncode == 1
    assert f"{variable} has 3 characters" in result.stderr
    assert "openssl rand -hex 32" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("webhook_secret", lambda settings: settings.secret_of_webhooks),
        ("basic_auth_pass", lambda settings: settings.password),
        ("signing_key", lambda settings: settings.signing_keys),
    ],
)
def test_too_short_secret_in_the_data_folder_is_refused_with_the_fix(
    name: str, read: Callable[[Settings], object], tmp_path: Path
) -> None:
    kept = tmp_path / "data" / "secrets" / name
    kept.parent.mkdir(parents=True)
    kept.write_text("sesame\n")
    with pytest.raises(SettingsProblem, match="has 6 characters and could be guessed") as refused:
        read(settings_from(tmp_path))
    assert str(kept) in str(refused.value)
    assert "sesame" not in str(refused.value).replace(str(kept), "")


@pytest.mark.parametrize(
    ("read", "variable", "file"),
    [
        ("secret_of_webhooks", "DATAGEN_WEBHOOK_SECRET", "webhook_secret"),
        ("password", "BASIC_AUTH_PASS", "basic_auth_pass"),
        ("signing_keys", "DATAGEN_SIGNING_KEYS", "signing_key"),
    ],
)
def test_a_missing_secret_names_its_variable_and_its_file_and_is_not_made(
    read: str, variable: str, file: str, tmp_path: Path
) -> None:
    """A worker without the signing key created another one, and its links were refused."""
    with pytest.raises(SecretProblem) as problem:
        getattr(settings_from(tmp_path), read)
    assert variable in str(problem.value)
    assert str(tmp_path / "data" / "secrets" / file) in str(problem.value)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("read", "setting", "file"),
    [
        ("secret_of_webhooks", "webhook_secret", "webhook_secret"),
        ("previous_secret_of_webhooks", "webhook_secret_previous", "webhook_secret_previous"),
        ("password", "basic_auth_pass", "basic_auth_pass"),
        ("previous_password", "basic_auth_pass_previous", "basic_auth_pass_previous"),
        ("api_key", "label_studio_api_key", "label_studio_api_key"),
    ],
)
def test_a_secret_is_read_from_its_variable_else_from_its_file(
    read: str, setting: str, file: str, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "secrets"
    folder.mkdir(parents=True)
    (folder / file).write_text("kept in the file only\n")
    assert getattr(settings_from(tmp_path), read) == "kept in the file only"
    assert getattr(settings_from(tmp_path, **{setting: "said by the variable"}), read) == "said by the variable"


def test_no_secret_is_shown_when_settings_are_printed(tmp_path: Path) -> None:
    given = dict.fromkeys(("label_studio_api_key", "basic_auth_pass", "webhook_secret"), "sesame" * 4)
    shown = repr(settings_from(tmp_path, **given))
    assert "sesame" not in shown


def test_the_data_folder_is_its_owners_alone(tmp_path: Path) -> None:
    settings_from(tmp_path, data_dir=tmp_path / "new" / "data").make_missing_secrets()
    assert (tmp_path / "new" / "data").stat().st_mode & 0o077 == 0
    assert (tmp_path / "new" / "data" / "secrets").stat().st_mode & 0o077 == 0


def test_of_several_signing_keys_the_last_one_is_the_newest(tmp_path: Path) -> None:
    settings_from(tmp_path).make_missing_secrets()
    first = settings_from(tmp_path).signing_keys
    assert len(first) == 1
    with (tmp_path / "data" / "secrets" / "signing_key").open("a") as file:
        file.write("\nanother-key-of-links\n")
    assert settings_from(tmp_path).signing_keys == (*first, b"another-key-of-links")
    given = "one-key-of-the-links two-key-of-the-links"
    assert settings_from(tmp_path, signing_keys_given=given).signing_keys == tuple(given.encode().split())


def test_every_secret_is_registered_for_redaction(tmp_path: Path) -> None:
    settings = settings_from(
        tmp_path,
        label_studio_api_key="key-1",
        basic_auth_pass="a-long-enough-pass-1",
        basic_auth_pass_previous="a-long-enough-pass-0",
        webhook_secret_previous="a-long-enough-secret-0",
        signing_keys_given="signing-key-number-0 signing-key-number-1",
        database_url="postgresql+psycopg://user:db-pass@host/x",
        redis_url="redis://:redis-pass@host/0",
    )
    assert not (tmp_path / "data").exists()  # asking makes none
    configured = {
        "key-1",
        "a-long-enough-pass-1",
        "a-long-enough-pass-0",
        "a-long-enough-secret-0",
        "db-pass",
        "redis-pass",
        "signing-key-number-0",
        "signing-key-number-1",
    }
    assert settings.known_secrets() == configured
    assert settings.make_missing_secrets() == ["webhook_secret"]
    assert settings.known_secrets() == configured | {settings.secret_of_webhooks}


def test_a_wrong_value_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "sesame")
    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None)
    assert "sesame" not in str(refused.value)
