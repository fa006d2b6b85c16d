"""The ML-backend protocol of Label Studio, and the credentials that it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from datagen import __version__
from datagen.domain.inputs import ProjectKind
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def call(studio: Studio, method: str, path: str, *, login: bool = True, **request: Any) -> httpx.Response:
    auth = (studio.settings.basic_auth_user, studio.settings.password) if login else None
    return httpx.request(method, studio.settings.own_url + path, auth=auth, timeout=30, **request)


def test_health_needs_no_log_in_and_is_always_the_same(studio: Studio) -> None:
    wanted = {"status": "UP", "model_class": "Datagen", "version": __version__}
    for path in ("/health", "/"):
        answer = call(studio, "GET", path, login=False)
        assert (answer.status_code, answer.json()) == (200, wanted)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/setup"), ("POST", "/predict"), ("GET", "/versions"), ("POST", "/webhook")]
)
def test_everything_else_asks_for_a_log_in(method: str, path: str, studio: Studio) -> None:
    for auth in (None, ("datagen", "wrong"), ("somebody", studio.settings.password), ("datagen", "")):
        answer = httpx.request(method, studio.settings.own_url + path, auth=auth, json={}, timeout=30)
        assert answer.status_code == 401, auth
    bearer = {"Authorization": f"Bearer {studio.settings.password}"}
    assert httpx.request(method, studio.settings.own_url + path, headers=bearer, json={}).status_code == 401


def test_every_view_is_known_here_so_that_none_is_open_by_mistake(tmp_path: Path) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from datagen.settings import Settings\n"
            "from datagen.web.app import create_app\n"
            "Settings().make_missing_secrets()\n"
            "print(*sorted({rule.rule for rule in create_app().url_map.iter_rules()}), sep='\\n')",
        ],
        env={**os.environ, "DATAGEN_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    open_to_all = {"/", "/health", "/ready", "/images/<string(length=64):digest>.png", "/static/<path:filename>"}
    guarded = {"/setup", "/predict", "/versions", "/webhook", "/metrics"}
    # forwarded; tests/unit/web/pages/test_log_in.py has their log-in, and tests/unit/web/api/test_bearer.py the tokens
    pages = {"/studio", "/studio/<path:_path>", "/api/v1/<path:_path>"}
    assert set(result.stdout.splitlines()) <= open_to_all | guarded | pages


def test_setup_and_versions_answer_at_once_with_the_one_model(studio: Studio) -> None:
    assert call(studio, "POST", "/setup", json={"project": "1.1", "schema": "<View/>"}).json() == {
        "model_version": "datagen"
    }
    assert call(studio, "GET", "/versions").json() == {"versions": ["datagen"]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"tasks": 7}',
        b'{"tasks": [7]}',
        b'{"tasks": [[]]}',
        b'{"tasks": {}}',
        b"[" * 90_000,
    ],
)
def test_predict_with_junk_is_refused_with_a_sentence(body: bytes, studio: Studio) -> None:
    answer = call(studio, "POST", "/predict", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()) == (400, {"error": "“tasks” must be a list of at most 1000 tasks"})


def test_predict_of_more_tasks_than_a_page_is_refused(studio: Studio) -> None:
    assert call(studio, "POST", "/predict", json={"tasks": [{}] * 1001}).status_code == 400


@pytest.mark.parametrize(
    "task",
    [
        {},
        {"id": None, "data": None},
        {"id": [1], "data": []},
        {"id": {"x": 1}, "data": {"datagen_key": {"x": []}}},
        {"id": 2**70, "data": {"datagen_key": "x" * 10_000}},
        {"id": True, "data": "text"},
    ],
)
def test_predict_of_an_unknown_task_is_empty(task: dict[str, Any], studio: Studio) -> None:
    answer = call(studio, "POST", "/predict", json={"tasks": [task], "params": {"context": None}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"] == [{"result": [], "score": 0.0}]


def test_a_key_that_no_database_can_hold_leaves_the_other_tasks_of_the_request_alone(
    studio: Studio, study: Study
) -> None:
    study.review()
    task = study.round_tasks()[0]
    odd = [{"id": 2**40, "data": {"datagen_key": key, "\ud800": "\x00"}} for key in ("a\ud800b", "a\x00b", "\udfff")]
    deep: dict[str, Any] = {"id": 2**40, "data": {"datagen_key": "x"}}
    deep["deep"] = json.loads("[" * 300 + "]" * 300)
    body = json.dumps({"tasks": [*odd, deep, {"id": task.id, "data": task.data}]})
    answer = call(studio, "POST", "/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text
    *others, known = answer.json()["results"]
    assert [prediction["result"] for prediction in others] == [[]] * 4
    assert known["result"]


def test_predict_of_a_review_task_gives_the_label_it_was_synthesized_with(studio: Studio, study: Study) -> None:
    study.review()
    tasks = [{"id": task.id, "data": task.data} for task in study.round_tasks()]
    results = call(studio, "POST", "/predict", json={"tasks": [*tasks, {"id": 2**40, "data": {}}]}).json()["results"]
    posted = [studio.client.predictions(task["id"])[0]["result"] for task in tasks]
    assert [prediction["result"] for prediction in results[:-1]] == posted
    assert results[-1]["result"] == []
    assert study.projects[ProjectKind.PREVIEWS]


@pytest.mark.parametrize(
    "module",
    [
        "datagen.web.app",
        "datagen.synthesis.composite.engine",
        "datagen.cli",
        "datagen.entrypoints.rq_tasks",
        "datagen.operations.diagnostics.examine",
    ],
)
def test_torch_is_imported_by_none_of(module: str) -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, {module}\n"
            "print(*(name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == ""
