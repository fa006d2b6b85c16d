"""``docker-compose.yml``, checked by reading it: no container engine runs here.

The scripts that it runs are tested on real servers: those of the databases in the integration test of this name, the
queue's in ``test_redis_server.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from datagen import cli
from datagen.settings import Settings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / "docker/env.example").read_text()
OURS = ["web", "worker", "handovers", "scheduler", "migrate"]


def test_every_part_is_there() -> None:
    assert set(SERVICES) == {*OURS, "label-studio", "postgres", "redis"}


@pytest.mark.parametrize("name", OURS)
def test_our_processes_run_commands_that_exist_with_variables_that_exist(name: str) -> None:
    commands = {command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    assert SERVICES[name]["command"][0] in commands
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
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


def test_services_have_health_checks_and_data_has_named_volumes() -> None:
    volumes = set(yaml.safe_load(TEXT)["volumes"])
    for name in ("web", "worker", "handovers", "label-studio", "postgres", "redis"):
        assert "healthcheck" in SERVICES[name], name
    for name in ("web", "worker", "handovers", "label-studio", "postgres", "redis"):
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


def test_files_that_the_image_copies_exist() -> None:
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
    secrets |= {"LABEL_STUDIO_PASSWORD", "LABEL_STUDIO_DB_PASSWORD", "POSTGRES_PASSWORD", "DATAGEN_REDIS_PASSWORD"}
    assert secrets <= set(asked)
    assert all(sentence.startswith("set it in .env") for sentence in asked.values())
    offered = (ROOT / "docker/env.example").read_text()
    assert all(re.search(rf"^{name}=$", offered, re.MULTILINE) for name in secrets)


def test_every_container_has_a_bound_on_memory_and_processes() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"(?:\$\{\w+_MEMORY:-)?\d+[mg]\}?", str(service["mem_limit"])), name
        assert 0 < service["pids_limit"] <= 512, name


def networks_of(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def test_label_studio_has_no_network_with_the_queue_or_datagens_database() -> None:
    assert networks_of("label-studio") == {"label-studio", "label-studio-database"}
    assert networks_of("redis") == {"queue"}
    together = {name for name in SERVICES if networks_of(name) & networks_of("label-studio")}
    assert together == {"label-studio", "postgres", "web", "worker", "handovers", "scheduler"}


def test_queue_and_databases_reach_nothing_outside() -> None:
    inside = {name for name, network in COMPOSE["networks"].items() if (network or {}).get("internal") is True}
    assert inside == {"queue", "datagen-database", "label-studio-database"}
    for name in ("redis", "postgres"):
        assert networks_of(name) <= inside


def test_containers_of_others_have_few_privileges_too() -> None:
    for name in ("redis", "postgres", "label-studio"):
        assert SERVICES[name]["cap_drop"] == ["ALL"]
        assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert all(SERVICES[name]["read_only"] is True for name in ("redis", "postgres"))
    assert "cap_add" not in SERVICES["redis"]


def test_the_queue_runs_the_tested_script_and_configuration() -> None:
    redis = SERVICES["redis"]
    mounted = dict(volume.split(":")[:2] for volume in redis["volumes"] if volume.startswith("./"))
    assert redis["command"][0] == mounted["./docker/start-valkey.sh"]
    assert mounted["./docker/valkey.conf"] == "/etc/valkey/valkey.conf"
    assert "${VALKEY_CONF:-/etc/valkey/valkey.conf}" in (ROOT / "docker/start-valkey.sh").read_text()
    assert all((ROOT / path).exists() for path in mounted)


def test_every_image_has_an_exact_version_and_can_be_named_by_digest() -> None:
    """By digest through a variable of .env; docs/operations.md says how an admin gets the digests."""
    named = re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", TEXT)
    assert {variable for variable, _ in named} == {
        "PYTHON_IMAGE",
        "LABEL_STUDIO_IMAGE",
        "POSTGRES_IMAGE",
        "REDIS_IMAGE",
    }
    operations = (ROOT / "docs/operations.md").read_text()
    for variable, image in named:
        assert re.fullmatch(r"[a-z/-]+:\d+\.\d+(?:\.\d+)?(?:-[a-z-]+)?", image), image
        assert f"#{variable}={image}\n" in EXAMPLE
        assert image in operations, image
        assert f"{variable}=" in operations, variable
    assert {service["image"] for service in SERVICES.values()} == {
        "label-studio-datagen",
        *(f"${{{variable}:-{image}}}" for variable, image in named if variable != "PYTHON_IMAGE"),
    }
    assert f"ARG PYTHON_IMAGE={dict(named)['PYTHON_IMAGE']}\n" in (ROOT / "docker/Dockerfile").read_text()
