"""The ``datagen`` command: one sentence for every error, no traceback, JSON that parses, a doctor that finds it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from datagen import __version__
from datagen.domain.inputs import ProjectKind
from datagen.imaging.png_encoder import encode_png
from datagen.queue.jobs import ALL_QUEUES
from datagen.queue.live_workers import live_workers
from datagen.store.tables.studies import ProjectRow
from datagen.workflow.inputs import unreadable_tasks
from forked_command import run_datagen
from s3 import CREDENTIALS
from stage import redis_server
from stage.ports import free_port
from stage.processes import Processes, wait_until
from studio import Studio, Study, plate

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

Finished = subprocess.CompletedProcess[str]


def datagen(environment: dict[str, str], folder: Path, *arguments: str) -> Finished:
    """Run the command as a person does, with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATAGEN_", "LABEL_STUDIO_"))}
    return run_datagen(*arguments, env={**kept, **environment, "COLUMNS": "200", "NO_COLOR": "1"}, cwd=folder)


def refused(result: Finished) -> str:
    """The one sentence of a command that failed."""
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_the_version_is_printed(studio: Studio, tmp_path: Path) -> None:
    assert datagen(studio.environment, tmp_path, "--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "no such study"),
        ("preview", "no such study"),
        ("refine", "no such study"),
        ("approve", "no such study", "--count", "3"),
        ("cancel", "no such study"),
        ("stop", "no such study"),
        ("add", "no such study", "concept", "."),
        ("export", "no such study", "--out", "x.zip"),
    ],
)
def test_a_study_that_is_not_there_is_a_sentence_in_every_command(
    arguments: tuple[str, ...], studio: Studio, study: Study, tmp_path: Path
) -> None:
    message = refused(datagen(studio.environment, tmp_path, *arguments))
    assert message.startswith("Error: there is no study named 'no such study'; there are: ")
    assert study.name in message


@pytest.mark.parametrize(
    ("setting", "arguments", "sentence"),
    [
        ({"LABEL_STUDIO_URL": "localhost"}, ("status",), "the setting LABEL_STUDIO_URL: "),
        ({"PORT": "many"}, ("web",), "the setting PORT: "),
        (
            {"DATAGEN_ENGINE_PARAMETERS": "{weights: x}"},
            ("doctor",),
            "the setting DATAGEN_ENGINE_PARAMETERS: is no JSON",
        ),
        ({"LABEL_STUDIO_API_KEY": ""}, ("worker",), "LABEL_STUDIO_API_KEY is not set: copy a token"),
        (
            {"LABEL_STUDIO_API_KEY": "0" * 40},
            ("provision", "x", "--label", "y"),
            "Label Studio does not know the token",
        ),
        ({"LABEL_STUDIO_URL": "http://127.0.0.1:1"}, ("provision", "x", "--label", "y"), "cannot be reached"),
        ({"DATAGEN_STORE_URL": "gopher://hole"}, ("status",), "DATAGEN_STORE_URL begins with gopher://"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, ("worker",), "Redis does not answer (ConnectionError)"),
        (
            {"DATAGEN_DATABASE_URL": "postgresql+psycopg://nobody:hush@127.0.0.1:1/none"},
            ("status",),
            "the database does not answer",
        ),
        ({"DATAGEN_DATABASE_URL": "postgresql+psycopg://nobody:hush@127.0.0.1:1/none"}, ("migrate",), "the database"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple | dict) else None,
)
def test_a_wrong_setting_is_a_sentence_that_names_it(
    setting: dict[str, str], arguments: tuple[str, ...], sentence: str, studio: Studio, tmp_path: Path
) -> None:
    result = datagen({**studio.environment, **setting}, tmp_path, *arguments)
    assert sentence in refused(result)
    assert "hush" not in result.stderr


def test_a_database_that_was_never_made_says_how_to_make_it(studio: Studio, tmp_path: Path) -> None:
    message = refused(datagen({**studio.environment, "DATAGEN_DATA_DIR": str(tmp_path)}, tmp_path, "status"))
    assert "datagen migrate" in message


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("provision", "x" * 60, "--label", "pit"), "the study's name has 60 characters"),
        (("provision", "wf nothing"), "'wf nothing' needs at least one label; add --label NAME"),
        (("provision", "wf nothing", "--label", ""), "the label '' cannot be used"),
        (("approve", "{study}", "--count", "0"), "0 images were asked for; a run makes 1 to 1,000,000."),
        (("approve", "{study}", "--count", "10000000"), "10,000,000 images were asked for"),
        (("refine", "{study}"), "“refine” is not possible now: no preview round has been made yet."),
        (("approve", "{study}", "--count", "3"), "“approve” is not possible now"),
        (("cancel", "{study}"), "“cancel” is not possible now"),
        (("export", "{study}", "--out", "x.zip"), "has no generation run yet; approve a version first"),
        (("add", "{study}", "concept", "nowhere"), "nowhere does not exist; give a folder of images"),
        (("add", "{study}", "canvas", "--from-project", "99999999"), "does not have"),
    ],
)
def test_impossible_command_is_refused_with_a_sentence(
    arguments: tuple[str, ...], sentence: str, studio: Studio, study: Study, tmp_path: Path
) -> None:
    filled = [argument.replace("{study}", study.name) for argument in arguments]
    assert sentence in refused(datagen(studio.environment, tmp_path, *filled))
    assert not list(tmp_path.glob("*.zip"))


def test_a_wrong_use_says_how_to_use_it(studio: Studio, study: Study, tmp_path: Path) -> None:
    for arguments in (("add", study.name, "concept"), ("add", study.name, "sofa", "."), ("approve", study.name)):
        result = datagen(studio.environment, tmp_path, *arguments)
        assert result.returncode == 2
        assert "Usage:" in result.stderr
        assert "Traceback" not in result.stderr


def test_json_answers_parse(studio: Studio, study: Study, tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(encode_png(plate(400)))
    (tmp_path / "broken.png").write_bytes(encode_png(plate(401))[:500])

    def answer(*arguments: str) -> Any:
        result = datagen(studio.environment, tmp_path, *arguments, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    provisioned = answer("provision", study.name)
    assert provisioned == {
        "study": study.name,
        "projects": {kind.name.lower(): number for kind, number in study.projects.items()},
        "engine": "composite",
        "engine_before": None,
    }
    added = answer("add", study.name, "background", str(tmp_path))
    assert (added["new"], added["known"]) == (1, 0)
    assert added["problems"][0].startswith("broken.png: the PNG file is truncated or damaged")
    [described] = answer("status", study.name)["studies"]
    assert (described["study"], described["state"], described["engine"]) == (study.name, "collecting", "composite")
    assert study.name in [row["study"] for row in answer("status")["studies"]]
    studio.settle()


def test_adding_sums_up_what_was_read_and_what_was_not_and_why(studio: Studio, tmp_path: Path) -> None:
    own = studio.open_study(inputs=False)
    (tmp_path / "a.png").write_bytes(encode_png(plate(410)))
    value = {"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["hole"]}
    region = {"id": "r", "from_name": "bbox", "to_name": "img", "type": "rectanglelabels", "value": value}
    tasks = [{"data": {"image": name}, "annotations": [{"result": [region]}]} for name in ("a.png", "b.png", "c.png")]
    (tmp_path / "export.json").write_text(json.dumps(tasks))

    result = datagen(studio.environment, tmp_path, "add", own.name, "concept", "export.json", "--label", "hole=pit")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "1 image added, 0 were there already, 1 region used"
    [line] = result.stderr.splitlines()
    assert line.startswith(
        "Not used: 2 times, export.json, task 2 (b.png); export.json, task 3 (c.png): its picture is"
    )

    (tmp_path / "export.json").write_text(json.dumps(tasks[1:]))
    result = datagen(studio.environment, tmp_path, "add", own.name, "concept", "export.json")
    assert result.returncode == 1
    assert "nothing of it could be used" in result.stderr

    wrong = datagen(studio.environment, tmp_path, "add", own.name, "concept", "export.json", "--label", "hole=sofa")
    assert "the study has no label “sofa” (it has: pit)" in refused(wrong)


def test_provisioning_changes_the_engine_only_where_one_is_set_and_says_so(studio: Studio, tmp_path: Path) -> None:
    """A shell without DATAGEN_ENGINE took a study back to composite, and nothing showed it."""
    own = studio.open_study(inputs=False)

    def provision(*arguments: str, **changed: str) -> str:
        result = datagen({**studio.environment, **changed}, tmp_path, "provision", own.name, *arguments)
        assert result.returncode == 0, result.stderr
        [line] = [line.strip() for line in result.stdout.splitlines() if line.strip().startswith("engine:")]
        return line

    assert provision(DATAGEN_ENGINE="diffusion") == "engine: composite → diffusion"
    assert provision() == "engine: diffusion"
    assert own.row().engine == "diffusion"
    assert "diffusion" in datagen(studio.environment, tmp_path, "status", own.name).stdout
    assert provision("--engine", "composite", DATAGEN_ENGINE="diffusion") == "engine: diffusion → composite"
    (tmp_path / ".env").write_text("DATAGEN_ENGINE=diffusion\n")
    assert provision() == "engine: composite → diffusion"
    result = datagen(studio.environment, tmp_path, "provision", own.name, "--engine", "sculpt")
    assert "no engine named 'sculpt' is installed; there are: composite, diffusion" in refused(result)
    assert own.row().engine == "diffusion"
    studio.settle()


def test_the_whole_loop_from_the_command_line(studio: Studio, tmp_path: Path) -> None:
    own = studio.open_study()
    studio.settle()
    steps = (("preview",), ("refine", "--confirm"), ("approve", "--count", "2", "--confirm"))
    for command, *options in steps:
        arguments = (command, own.name, *options)
        result = datagen(studio.environment, tmp_path, *arguments)
        assert result.returncode == 0, result.stderr
        assert "is under way; see the Decisions project or: datagen status" in result.stdout
        studio.settle()
    assert (own.row().state, len(own.tasks(ProjectKind.DATASET))) == ("accepted", 2)
    assert any("(datagen approve)" in line for line in own.audit())

    result = datagen(studio.environment, tmp_path, "export", own.name, "--out", "set.zip")
    assert result.stdout.strip() == "set.zip: 2 images, 2 labels"
    with zipfile.ZipFile(tmp_path / "set.zip") as written:
        assert written.testzip() is None
    table = datagen(studio.environment, tmp_path, "status").stdout
    assert own.name in table
    assert "accepted" in table
    assert " concept, " in " ".join(table.split())  # a number of inputs has a name
    assert "dataset images" in " ".join(table.split())


# -- the doctor


@pytest.fixture
def diagnose(whole_studio: Studio, alive: None, shared_study: Study, tmp_path: Path) -> Any:
    """Runs the doctor with some settings changed: exit code and its lines by the name of the check."""

    def run(*, one_study: bool = True, **changed: str) -> tuple[int, dict[str, str]]:
        arguments = ["doctor", "--study", shared_study.name] if one_study else ["doctor"]
        result = datagen({**whole_studio.environment, **changed}, tmp_path, *arguments)
        assert "Traceback" not in result.stderr
        lines = [line.partition(": ") for line in result.stdout.splitlines()]
        return result.returncode, {head: finding for head, _, finding in lines}

    return run


def test_the_doctor_finds_nothing_where_nothing_is_wrong(diagnose: Any, shared_study: Study) -> None:
    code, lines = diagnose()
    assert code == 0, lines
    assert all(head.startswith("ok") for head in lines), lines
    assert "arrived after" in lines[f"ok   delivery to {shared_study.name}"]
    assert lines["ok   token"].startswith("legacy token of ")


@pytest.mark.parametrize(
    ("changed", "check", "sentence"),
    [
        ({"PORT": "1"}, "web process", "the web process does not answer at http://127.0.0.1:1 "),
        ({"LABEL_STUDIO_API_KEY": "0" * 40}, "token", "Label Studio does not know the token (401)."),
        ({"LABEL_STUDIO_API_KEY": ""}, "token", "LABEL_STUDIO_API_KEY is not set"),
        ({"LABEL_STUDIO_URL": "http://127.0.0.1:1"}, "Label Studio", "no Label Studio answers at http://127.0.0.1:1"),
        (
            {"DATAGEN_WEBHOOK_SECRET": "other " * 4},
            "secrets",
            "another webhook secret than the installation: set DATAGEN_",
        ),
        (
            {"BASIC_AUTH_PASS": "other " * 4},
            "secrets",
            "another basic-auth password than the installation: set BASIC_AUTH_",
        ),
        (
            {"DATAGEN_SIGNING_KEYS": "other" * 4},
            "secrets",
            "another key of image links than the installation: set DATAGEN_",
        ),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "Redis", "Redis at 127.0.0.1:1 does not answer"),
        (
            {"DATAGEN_DATABASE_URL": "postgresql+psycopg://nobody:hush@127.0.0.1:1/none"},
            "database",
            "the database does not answer (OperationalError). Check DATAGEN_DATABASE_URL",
        ),
        ({"DATAGEN_STORE_URL": "file:///proc/no-folder"}, "image store", "cannot be stored"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_the_doctor_names_what_is_wrong_and_exits_1(
    changed: dict[str, str], check: str, sentence: str, diagnose: Any
) -> None:
    code, lines = diagnose(**changed)
    assert code == 1
    failures = [finding for head, finding in lines.items() if head.startswith(f"FAIL {check}")]
    assert len(failures) == 1, lines
    assert sentence in failures[0]
    assert "hush" not in "".join(lines.values())


@pytest.mark.parametrize(
    ("changed", "cause", "consequences"),
    [
        (
            dict.fromkeys(("DATAGEN_WEBHOOK_SECRET", "BASIC_AUTH_PASS", "DATAGEN_SIGNING_KEYS"), "other" * 4),
            "secrets",
            ("web log-in", "image link", "webhooks of", "ML backends of", "delivery to"),
        ),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "Redis", ("worker", "scheduler")),
        ({"LABEL_STUDIO_URL": "http://127.0.0.1:1"}, "Label Studio", ("token", "addresses", "webhooks of")),
    ],
    ids=["secrets", "Redis", "Label Studio"],
)
def test_the_doctor_names_the_cause_and_gives_no_advice_about_its_consequences(
    changed: dict[str, str], cause: str, consequences: tuple[str, ...], diagnose: Any
) -> None:
    """The advice was “run: datagen provision” on a machine with other secrets, which disables all the others."""
    code, lines = diagnose(**changed)
    assert code == 1
    assert [head for head in lines if head.startswith("FAIL")] == [f"FAIL {cause}"]
    for name in consequences:
        [finding] = [finding for head, finding in lines.items() if head.startswith(f"wait {name}")]
        assert finding == f"not looked at; mend “{cause}” first"
    assert "datagen provision" not in "".join(lines.values())


@pytest.fixture
def locked_redis(processes: Processes, tmp_path: Path) -> Iterator[str]:
    """A Redis with a password; yields its address with the password."""
    url = redis_server.start(processes, tmp_path / "locked redis")
    started = [process for process in processes.alive() if process.name == "redis"][-1]
    yield url
    processes.stop(started)


def test_redis_that_needs_a_password_is_not_reported_as_down(
    locked_redis: str, diagnose: Any, studio: Studio, tmp_path: Path
) -> None:
    bare = re.sub(r"//[^@]*@", "//", locked_redis)
    for url in (bare, bare.replace("redis://", "redis://:guessed@")):
        finding = diagnose(REDIS_URL=url, one_study=False)[1]["FAIL Redis"]
        assert "answers, and wants a password that REDIS_URL lacks, or has wrong" in finding
        assert "redis://:PASSWORD@HOST:6379/0" in finding
        for command in ("worker", "scheduler"):
            message = refused(datagen({**studio.environment, "REDIS_URL": url}, tmp_path, command))
            assert "wants a password that REDIS_URL lacks" in message
            assert "guessed" not in message
    assert "ok   Redis" in diagnose(REDIS_URL=locked_redis, one_study=False)[1]


def test_database_that_refuses_the_login_is_not_reported_as_down(
    postgres_url: str, studio: Studio, tmp_path: Path
) -> None:
    for url, sentence in (
        (postgres_url.rpartition("/")[0] + "/no_such_database", "The server has no database of the name"),
        (re.sub(r"//[^@]*@", "//nobody:hush@", postgres_url), "The server has no user of the name"),
    ):
        changed = {**studio.environment, "DATAGEN_DATABASE_URL": url}
        message = refused(datagen(changed, tmp_path, "status"))
        assert sentence in message
        assert "hush" not in message
        assert sentence in datagen(changed, tmp_path, "doctor").stdout


def test_a_project_that_was_deleted_is_named_with_the_fix(studio: Studio, alive: None, tmp_path: Path) -> None:
    """Label Studio's own answer, a 400, was shown."""
    own = studio.open_study(inputs=False)
    project = own.projects[ProjectKind.CONCEPTS]
    studio.client.delete_project(project)

    def is_noticed() -> bool:
        with studio.rows() as session:
            return bool(unreadable_tasks.problems_of(session, own.id))

    def are_all_alive() -> bool:
        served = {queue for worker in live_workers(studio.queues) for queue in worker.queues}
        return served >= set(ALL_QUEUES)

    wait_until(is_noticed, 60, "the reconciler's reading of the deleted project")
    wait_until(are_all_alive, 60, "a heartbeat of each worker")
    result = datagen(studio.environment, tmp_path, "doctor", "--study", own.name)
    gone = (
        f"project {project} (Concepts) is not in Label Studio any more: it was deleted. To make a new, empty one, "
        f"run: datagen provision '{own.name}'"
    )
    assert [line for line in result.stdout.splitlines() if line.startswith("FAIL ")] == [
        f"FAIL {look} of {own.name}: {gone}" for look in ("tasks", "projects", "webhooks")
    ]
    assert datagen(studio.environment, tmp_path, "provision", own.name).returncode == 0
    assert datagen(studio.environment, tmp_path, "doctor", "--study", own.name).returncode == 0
    assert refused(datagen(studio.environment, tmp_path, "add", own.name, "canvas", "--from-project", str(project)))


def test_doctor_abandons_a_check_that_hangs_and_runs_the_others(diagnose: Any, shared_study: Study) -> None:
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections, and answers nothing
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        code, lines = diagnose(
            DATAGEN_STORE_URL="s3://pictures/prefix",
            LABEL_STUDIO_URL=f"http://{address}",
            REDIS_URL=f"redis://{address}/0",
            **CREDENTIALS,
            AWS_ENDPOINT_URL=f"http://{address}",
        )
    assert code == 1
    assert "it did not answer in time; see that it runs" in lines["FAIL image store"]
    assert "does not answer (TimeoutError)" in lines["FAIL Redis"]
    assert "(ReadTimeout)" in lines["FAIL Label Studio"]
    assert lines["wait token"] == "not looked at; mend “Label Studio” first"
    assert lines["ok   database"].startswith("sqlite")


def test_the_doctor_refuses_parameters_that_a_study_could_not_be_built_with(diagnose: Any, shared_study: Study) -> None:
    """The check passed, and the build failed."""
    code, lines = diagnose(DATAGEN_ENGINE_PARAMETERS='{"weights": "/moved/away", "contrast": 0.8}')
    assert code == 0, lines  # weights are no matter of composite's
    assert lines[f"ok   engine of {shared_study.name}"] == "composite"
    for given, sentence in (('{"contrast": 9}', "it must be from 0.2 to 4."), ('{"wieghts": ""}', "names 'wieghts'")):
        code, lines = diagnose(DATAGEN_ENGINE_PARAMETERS=given)
        assert code == 1
        assert sentence in lines["FAIL engine"]
        assert sentence in lines[f"FAIL engine of {shared_study.name}"]


def test_the_doctor_says_that_a_study_has_another_engine_than_is_set(diagnose: Any, shared_study: Study) -> None:
    lines = diagnose(DATAGEN_ENGINE="diffusion")[1]
    assert lines[f"ok   engine of {shared_study.name}"] == (
        f"composite; DATAGEN_ENGINE is diffusion: “datagen provision {shared_study.name!r}” changes it"
    )


def test_the_doctor_misses_a_worker_and_a_scheduler(diagnose: Any, whole_studio: Studio) -> None:
    elsewhere = whole_studio.environment["REDIS_URL"].rpartition("/")[0] + "/6"
    code, lines = diagnose(REDIS_URL=elsewhere, one_study=False)
    assert code == 1
    assert lines["FAIL worker"].startswith("no worker is alive: nothing would be synthesized. Start one: datagen up")
    assert lines["FAIL scheduler"].startswith("no scheduler is alive")


def test_doctor_names_the_fix_for_a_study_without_a_project(
    diagnose: Any, whole_studio: Studio, shared_study: Study, tmp_path: Path
) -> None:
    with whole_studio.services.database.write() as session:
        session.execute(delete(ProjectRow).where(ProjectRow.project_id == shared_study.projects[ProjectKind.DECISIONS]))
    code, lines = diagnose()
    assert code == 1
    assert lines[f"FAIL webhooks of {shared_study.name}"] == (
        f"its project Decisions is not known here; run: datagen provision {shared_study.name!r}"
    )
    assert f"wait delivery to {shared_study.name}" in lines
    mended = datagen(whole_studio.environment, tmp_path, "provision", shared_study.name)
    assert mended.returncode == 0, mended.stderr
    assert diagnose()[0] == 0


def test_the_doctor_says_which_texts_are_an_earlier_version_s_and_which_people_changed(
    diagnose: Any, whole_studio: Studio, shared_study: Study, tmp_path: Path
) -> None:
    name, projects = shared_study.name, shared_study.projects
    concepts, dataset = projects[ProjectKind.CONCEPTS], projects[ProjectKind.DATASET]
    whole_studio.client.update_project(concepts, {"description": f"Concepts of the study {name}"})  # as version 0.1 did
    whole_studio.client.update_project(dataset, {"description": "our own words"})
    code, lines = diagnose()
    assert code == 1
    assert lines[f"FAIL projects of {name}"] == (
        f"not this version's: description of project {concepts} (Concepts). Run: datagen provision {name!r}"
    )
    mended = datagen(whole_studio.environment, tmp_path, "provision", name)
    assert f"mended Concepts: description of project {concepts}" in mended.stdout
    assert f"left as people changed it: Dataset: description of project {dataset}" in mended.stdout
    code, lines = diagnose()
    assert code == 0
    assert lines[f"ok   projects of {name}"] == "this version's, except for what people changed: description of Dataset"


def test_the_doctor_sees_something_else_on_the_port(diagnose: Any, whole_studio: Studio) -> None:
    code, lines = diagnose(DATAGEN_PUBLIC_URL=whole_studio.server.url)
    assert code == 1
    assert "FAIL web process" in lines


def test_the_doctor_sees_a_webhook_that_is_gone_or_switched_off(
    diagnose: Any, whole_studio: Studio, shared_study: Study, tmp_path: Path
) -> None:
    project = shared_study.projects[ProjectKind.PREVIEWS]
    for hook in whole_studio.client.webhooks(project):
        whole_studio.client.delete_webhook(hook.id)
    code, lines = diagnose()
    assert code == 1
    assert f"project {project} (Previews) has no webhook to" in lines[f"FAIL webhooks of {shared_study.name}"]
    mended = datagen(whole_studio.environment, tmp_path, "provision", shared_study.name)
    assert mended.returncode == 0, mended.stderr
    assert diagnose()[0] == 0


def test_up_runs_all_parts_and_stops_all_on_sigterm(whole_studio: Studio, processes: Processes, tmp_path: Path) -> None:
    environment = {
        **whole_studio.environment,
        "PORT": str(free_port()),
        "REDIS_URL": whole_studio.environment["REDIS_URL"].rpartition("/")[0] + "/7",
        "DATAGEN_DATA_DIR": str(tmp_path / "data"),
    }

    def doctor_is_content() -> bool:
        return datagen(environment, tmp_path, "doctor").returncode == 0

    up = processes.start(
        "up",
        [sys.executable, "-m", "datagen", "up", "--workers", "1"],
        env=environment,
        cwd=tmp_path,
        ready=doctor_is_content,
        within=90,
    )
    processes.stop(up)
    lines = datagen(environment, tmp_path, "doctor").stdout
    assert "FAIL web process" in lines
    wait_until(lambda: not processes.is_alive(up), 20, "the end of datagen up")


def test_variables_of_the_hubs_client_are_read_from_dotenv_too(studio: Studio, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    (tmp_path / ".env").write_text("HF_HUB_OFFLINE=1\n")
    engine = {
        "DATAGEN_ENGINE": "diffusion",
        "DATAGEN_ENGINE_PARAMETERS": '{"weights": "owner/name", "device": "cpu"}',
    }
    assert (
        "HF_HUB_OFFLINE forbids fetching them" in datagen({**studio.environment, **engine}, tmp_path, "doctor").stdout
    )
