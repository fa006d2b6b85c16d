"""``docs/operations.md``, followed to the letter: two machines, PostgreSQL, a Valkey with a password, an S3 server."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from redis import Redis

from datagen.domain.inputs import Role
from datagen.label_studio.api.client import LabelStudio
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.workflow.studies.queries import describe
from operations_page import Block, Machine, blocks
from stage import postgres_server, redis_server
from stage.label_studio_server import LabelStudio as Server
from stage.layout import ROOT
from stage.ports import free_port, is_open
from stage.processes import Processes, wait_until
from studio import good_inputs, verdict_result

pytestmark = [
    pytest.mark.integration,
    # botocore's, whose server is asked for the bucket's contents
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
WITHIN_S = 120.0
#: Samples of a round here.
ROUND = 6


@dataclass
class Team:
    """An installation that was made by following the page, and its users."""

    first: Machine
    second: Machine
    host: Machine
    study: str
    web: str
    label_studio: LabelStudio
    bucket: Callable[[], set[str]]
    empty_bucket: Callable[[], None]
    database_url: str
    #: Label Studio's projects by kind, once they were read
    projects: dict[str, int] = field(default_factory=dict)

    def follow(self, chapter: str) -> list[str]:
        """Run a chapter's blocks in order, each on its machine; return their outputs."""
        where = {"first machine": self.first, "second machine": self.second, "once": self.host}
        return [where[place].run(block.text) for block in chapter_of(chapter) for place in block.where]

    def status(self) -> dict[str, Any]:
        """The output of ``datagen status``, without a process; no open connection is left to block a restore."""
        with closing(Database(self.database_url)) as database:
            [study] = describe(database, self.study)
        return study

    def previews(self) -> list[Any]:
        if not self.projects:
            self.projects = json.loads(self.first.datagen("provision", self.study, "--json"))["projects"]
        return list(self.label_studio.tasks(self.projects["previews"]))

    def await_previews(self, count: int) -> list[Any]:
        wait_until(lambda: len(self.previews()) == count, WITHIN_S, f"The {count}th preview", every=1.0)
        return self.previews()


def chapter_of(name: str) -> list[Block]:
    commands = [block for block in blocks() if block.chapter == name]
    assert commands, f"the page has no commands in a chapter “{name}”"
    return commands


@pytest.fixture(scope="module")
def team(label_studio: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The chapters from *PostgreSQL* to *More machines*, followed."""
    folder = tmp_path_factory.mktemp("team")
    processes = Processes(folder / "servers")
    client = LabelStudio(label_studio.url, label_studio.token)
    with postgres_server.running() as postgres:
        try:
            installed = _install(processes, folder, postgres, label_studio, client)
            yield installed
            installed.first.datagen("delete", installed.study, "--projects", "--yes")
        finally:
            processes.stop_all()
            client.close()


def _install(processes: Processes, folder: Path, postgres: str, label_studio: Server, client: LabelStudio) -> Team:
    web_port, redis_port, s3_port = free_port(), free_port(), free_port()
    passwords = {name: secrets.token_hex(16) for name in ("database", "queue", "basic", "webhook")}
    web, s3 = f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{s3_port}"
    study = f"Brushed plates {secrets.token_hex(4)}"
    database = postgres.rpartition("@")[2]
    instead = {
        "Brushed plates": study,
        "-h db.example -p 5432": f"-h {database.replace(':', ' -p ')}",
        "db.example:5432": database,
        "redis.example:6379": f"127.0.0.1:{redis_port}",
        "'port 6379'": f"'port {redis_port}'",
        "https://s3.example": s3,
        "http://label-studio.example:8080": label_studio.url,
        "http://datagen.example:9090": web,
    }
    queue = redis_server.url_of(redis_port, passwords["queue"])

    def members(key: str, of: Callable[[Redis, str], Any]) -> set[bytes]:
        with Redis.from_url(queue) as redis:
            return set(of(redis, key))

    known: set[bytes] = set()
    one_at_a_time = threading.Lock()

    def worker_is_new() -> bool:
        """Whether a worker runs that was not counted before; it is counted now."""
        with one_at_a_time:
            new = members("rq:workers", Redis.smembers) - known
            known.update([*new][:1])
        return bool(new)

    ready = {
        "datagen-web": lambda: is_open(web_port) and httpx.get(f"{web}/health", timeout=10).is_success,
        "datagen-scheduler": lambda: bool(members("rq:cron_schedulers", lambda redis, key: redis.zrange(key, 0, -1))),
        "datagen-worker": worker_is_new,
        "datagen-handovers": worker_is_new,
    }
    first, second, host = (
        Machine(name, folder / name.replace(" ", "-"), processes, instead, ready)
        for name in ("first machine", "second machine", "host of the servers")
    )
    # what the page copies to another machine goes to another folder here
    copied = {
        "-C / etc": f"-C {first.root} etc",
        "ssh root@worker-2.example tar -xpf - -C /": f"tar -xpf - -C {second.root}",
    }
    first.instead = {**copied, **instead}

    moto = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3_port)]
    processes.start("s3", moto, ready=lambda: is_open(s3_port), within=60)
    login = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    bucket = boto3.client("s3", endpoint_url=s3, **login)
    bucket.create_bucket(Bucket="pictures")

    def objects() -> set[str]:
        pages = bucket.get_paginator("list_objects_v2").paginate(Bucket="pictures")
        return {entry["Key"] for page in pages for entry in page.get("Contents", ())}

    def empty() -> None:
        for key in objects():
            bucket.delete_object(Bucket="pictures", Key=key)

    started = Team(
        first, second, host, study, web, client, objects, empty, f"postgresql+psycopg://postgres@{database}/datagen"
    )

    host.environment = {"DATAGEN_DB_PASSWORD": passwords["database"]}
    started.follow("PostgreSQL")
    [served] = chapter_of("The queue")
    assert served.where == ("once", "in the background")
    processes.start(
        "valkey",
        ["bash", "-euc", host.here(served.text)],
        env={"DATAGEN_REDIS_PASSWORD": passwords["queue"], "VALKEY_SERVER": str(redis_server.executable())},
        cwd=ROOT,
        ready=lambda: is_open(redis_port),
        within=60,
    )

    [prepared, *rest] = chapter_of("The first machine")
    first.run(prepared.text)
    settings = first.root / "etc/datagen/datagen.env"
    blank = {
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "BASIC_AUTH_PASS": passwords["basic"],
        "DATAGEN_WEBHOOK_SECRET": passwords["webhook"],
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    text = first.here(settings.read_text()).replace("\nPORT=9090\n", f"\nPORT={web_port}\n")
    text = text.replace(
        "datagen:PASSWORD@127.0.0.1:" + str(redis_port), f"datagen:{passwords['queue']}@127.0.0.1:{redis_port}"
    )
    text = text.replace("datagen:PASSWORD@", f"datagen:{passwords['database']}@")
    for name, value in blank.items():
        assert f"\n{name}=\n" in text
        text = text.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    # small rounds, and a queue that is looked through often, so that the test is short
    settings.write_text(
        f"{text}DATAGEN_PREVIEW_SIZE={ROUND}\nDATAGEN_SHARD_SIZE=2\nDATAGEN_SWEEP_SECONDS=1\nDATAGEN_RECONCILE_SECONDS=2\n"
    )
    for block in rest:
        first.run(block.text)

    [installed, copies, *rest] = chapter_of("More machines")
    second.run(installed.text)
    first.run(copies.text)
    env_file = second.root / "etc/datagen/datagen.env"
    env_file.write_text(env_file.read_text().replace(str(first.root), str(second.root)))
    for block in rest:
        second.run(block.text)
    return started


@pytest.fixture(scope="module")
def reviewed(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Team:
    """The team's study with a round of previews, rendered by the second machine."""
    folder = tmp_path_factory.mktemp("inputs")
    for role, given in good_inputs().items():
        listed = []
        for name, data, drawn in given:
            (folder / name).write_bytes(data)
            for region in drawn:
                labels = region["value"].get("rectanglelabels")
                if labels:
                    region["value"]["rectanglelabels"] = ["scratch"]
            listed.append({"data": {"image": name}, "annotations": [{"result": drawn}] if drawn else []})
        (folder / f"{role}.json").write_text(json.dumps(listed))
        team.first.datagen("add", team.study, str(role), str(folder / f"{role}.json"))
    wait_until(lambda: team.status()["inputs"] == dict.fromkeys(map(str, Role), 6), WITHIN_S, "All inputs", every=1.0)
    workers = ("datagen-worker@1", "datagen-worker@2", "datagen-handovers")
    team.first.systemctl("stop", *workers)  # so that the second machine renders
    team.first.datagen("preview", team.study)
    team.await_previews(ROUND)
    wait_until(lambda: team.status()["rounds"] == 1, WITHIN_S, "The end of the round", every=1.0)
    team.first.systemctl("start", *workers)
    return team


def shown(team: Team) -> list[int]:
    """Return the HTTP status of each picture of the newest previews, requested without log-in."""
    return [httpx.get(task.data["image"], timeout=30).status_code for task in team.previews()]


def test_every_block_of_the_page_is_followed_here() -> None:
    followed = {
        "PostgreSQL",
        "The queue",
        "The first machine",
        "More machines",
        "Upgrade",
        "Monitoring",
        "Backup",
        "Restore",
    }
    assert {block.chapter for block in blocks() if block.where} == followed
    assert {block.chapter for block in blocks() if not block.where} == {"Install", "With docker", "Images by digest"}


def test_the_first_machine_shows_every_picture_that_the_second_rendered(reviewed: Team) -> None:
    assert shown(reviewed) == [200] * ROUND
    assert len(reviewed.bucket()) >= 2 * ROUND  # pictures and masks
    for machine in (reviewed.first, reviewed.second):
        files = (path for path in (machine.root / "var/lib/datagen").rglob("*") if path.is_file())
        local = {path.name for path in files if path.suffix != ".fit"}  # fits can be made again
        assert local == {"signing_key"}, "rows and pictures lie in PostgreSQL and in the bucket"


def test_a_machine_that_made_its_own_key_is_found_by_its_doctor(team: Team) -> None:
    key = team.second.root / "var/lib/datagen/secrets/signing_key"
    kept = key.read_text()
    key.write_text(secrets.token_hex(32))
    try:
        with pytest.raises(AssertionError, match=r"FAIL secrets: "):
            team.second.datagen("doctor")
    finally:
        key.write_text(kept)


def test_files_with_secrets_are_the_owners_alone_on_both_machines(team: Team) -> None:
    for machine in (team.first, team.second):
        open_ = [
            path
            for path in (machine.root / "etc/datagen/datagen.env", *(machine.root / "var/lib/datagen").rglob("*"))
            if path.is_file() and path.stat().st_mode & 0o077
        ]
        assert open_ == []


def test_the_monitoring_chapter_asks_and_is_answered(team: Team) -> None:
    [result] = team.follow("Monitoring")
    assert '"status":"UP"' in result.replace(" ", "")
    assert '"ready":true' in result.replace(" ", "")
    assert re.search(r"^datagen_workers 5\.0$", result, re.M)
    page = (ROOT / "docs" / "operations.md").read_text()
    scrape, rules = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S))
    [job] = scrape["scrape_configs"]
    settings = dict(line.split("=", 1) for line in _settings_of(team.first) if "=" in line)
    login = (job["basic_auth"]["username"], settings["BASIC_AUTH_PASS"])
    answer = httpx.get(f"{team.web}{job['metrics_path']}", auth=login, timeout=30)
    assert answer.status_code == 200
    assert httpx.get(f"{team.web}{job['metrics_path']}", timeout=30).status_code == 401
    for rule in rules["groups"][0]["rules"]:
        for figure in re.findall(r"\bdatagen_\w+", rule["expr"]):
            assert re.search(rf"^{figure}\b", answer.text, re.M), figure


def _settings_of(machine: Machine) -> list[str]:
    return (machine.root / "etc/datagen/datagen.env").read_text().splitlines()


def test_after_an_upgrade_everything_runs_again(reviewed: Team) -> None:
    reviewed.follow("Upgrade")
    reviewed.first.datagen("doctor", "--study", reviewed.study)
    reviewed.second.datagen("doctor", "--study", reviewed.study)
    assert shown(reviewed) == [200] * ROUND


def test_a_backup_is_restored_into_an_empty_database_and_an_empty_bucket(reviewed: Team) -> None:
    reviewed.follow("Backup")
    before, objects = reviewed.status(), reviewed.bucket()
    saved = reviewed.first.root / "var/backups/datagen"
    assert (saved / "rows.zip").stat().st_mode & 0o077 == 0
    reviewed.label_studio.annotate(reviewed.previews()[0].id, verdict_result("good"))
    wait_until(lambda: reviewed.status()["verdicts"]["good"] == 1, WITHIN_S, "The verdict", every=0.5)
    reviewed.empty_bucket()
    assert shown(reviewed) == [404] * ROUND

    reviewed.follow("Restore")
    after = reviewed.status()
    assert {name: after[name] for name in ("state", "version", "inputs", "rounds")} == {
        name: before[name] for name in ("state", "version", "inputs", "rounds")
    }
    assert reviewed.bucket() >= {key for key in objects if "doctor" not in key}
    assert shown(reviewed) == [200] * ROUND
    # what was said after the backup is read from Label Studio again
    wait_until(lambda: reviewed.status()["verdicts"]["good"] == 1, WITHIN_S, "The verdict again", every=0.5)
    assert len(reviewed.previews()) == ROUND


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_no_fault_in_a_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/datagen/bin/datagen", sys.executable))
    result = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_gives_its_process_few_rights_and_bounded_memory(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for line in ("User=datagen", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "UMask=0077"):
        assert line in lines, line
    assert any(re.fullmatch(r"MemoryMax=\d+G", line) for line in lines)


def test_the_template_names_settings_that_exist_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [
        line.split("=", 1) for line in (DEPLOY / "datagen.env").read_text().splitlines() if re.match(r"\w+=", line)
    ]
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    assert {name for name, _ in pairs} - known == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL",
    }
    for name, value in pairs:
        if re.search("PASS|SECRET|KEY", name):
            assert value == "", name
        assert not re.search(r"""[\s"'$#\\]""", value), name


def test_every_secret_that_a_setting_holds_is_in_the_pages_table() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = page[page.index("## Secrets") : page.index("## The first machine")]
    held = [
        str(field.validation_alias) for field in Settings.model_fields.values() if "SecretStr" in str(field.annotation)
    ]
    for variable in held:
        if not variable.endswith("_PREVIOUS"):
            assert f"`{variable}`" in table, variable
