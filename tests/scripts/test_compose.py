"""``docker-compose.yml``: no engine runs here, so what can be checked by reading is checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from datagen import cli
from datagen.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
OURS = ["web", "worker", "scheduler", "migrate"]


def test_every_part_is_there() -> None:
    assert set(SERVICES) == {*OURS, "label-studio", "postgres", "redis"}


@pytest.mark.parametrize("name", OURS)
def test_our_processes_run_commands_that_exist_with_variables_that_exist(name: str) -> None:
    commands = {command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    assert SERVICES[name]["command"][0] in commands
    known = {str(alias) for field in Settings.model_fields.values() for alias in field.validation_alias.choices}  # type: ignore[union-attr]
    assert set(SERVICES[name]["environment"]) <= known


def test_our_variables_make_valid_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # no .env of a developer
    for variable, value in SERVICES["web"]["environment"].items():
        filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:\?[^}]*\}", "http://name.example:9090", filled))
    settings = Settings()
    assert settings.host == "0.0.0.0"
    assert settings.port == 9090


def test_every_variable_that_must_be_set_is_in_the_example() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    offered = set(re.findall(r"^(\w+)=", (ROOT / "docker/env.example").read_text(), re.MULTILINE))
    assert required <= offered


def test_no_secret_has_a_default() -> None:
    assert not re.findall(r"\$\{\w*(?:PASS|SECRET|KEY|TOKEN)\w*:?-", TEXT)


def test_what_serves_is_watched_and_what_is_kept_has_a_named_volume() -> None:
    volumes = set(yaml.safe_load(TEXT)["volumes"])
    for name in ("web", "worker", "label-studio", "postgres", "redis"):
        assert "healthcheck" in SERVICES[name], name
    for name in ("web", "worker", "label-studio", "postgres", "redis"):
        assert {volume.partition(":")[0] for volume in SERVICES[name]["volumes"]} & volumes, name


def test_our_containers_have_no_privileges() -> None:
    for name in OURS:
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["read_only"] is True
    assert re.search(r"^USER datagen$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)


def test_label_studio_may_call_private_addresses_but_not_itself_or_the_metadata_service() -> None:
    environment = SERVICES["label-studio"]["environment"]
    assert environment["USE_DEFAULT_BANNED_SUBNETS"] == "false"
    assert {"127.0.0.0/8", "169.254.0.0/16"} <= set(environment["USER_ADDITIONAL_BANNED_SUBNETS"].split(","))


def test_what_the_image_copies_is_in_the_checkout() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    for path in " ".join(copied).split():
        assert (ROOT / path).exists(), path


def test_our_containers_can_gain_nothing_and_write_only_where_they_must() -> None:
    for name in OURS:
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
        assert SERVICES[name]["tmpfs"] == ["/tmp"]
        assert [volume.partition(":")[2] for volume in SERVICES[name]["volumes"]] == ["/data"]
        assert not {"privileged", "network_mode", "pid", "devices"} & set(SERVICES[name])


def test_database_and_queue_are_not_reached_from_outside() -> None:
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"web", "label-studio"}


def test_a_secret_that_is_missing_stops_everything_with_a_sentence() -> None:
    """``${NAME:?sentence}``: compose refuses to start, and an empty value counts as missing."""
    asked = dict(re.findall(r"\$\{(\w+):\?([^}]+)\}", TEXT))
    secrets = {"LABEL_STUDIO_API_KEY", "DATAGEN_DB_PASSWORD", "BASIC_AUTH_PASS", "DATAGEN_WEBHOOK_SECRET"}
    secrets |= {"LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_DB_PASSWORD", "POSTGRES_PASSWORD"}
    assert secrets <= set(asked)
    assert all(sentence.startswith("set it in .env") for sentence in asked.values())
    offered = (ROOT / "docker/env.example").read_text()
    assert all(re.search(rf"^{name}=$", offered, re.MULTILINE) for name in secrets)
