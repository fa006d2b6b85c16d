"""The API as programs reach it: through the web process, with tokens that Label Studio checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from datagen.domain.inputs import Role
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.studies import StudyRow
from datagen.web.api.bearer import WRONG_TOKENS
from packed_inputs import packed
from stage.layout import ROOT
from stage.processes import Processes, wait_until
from studio import Studio, Study, good_inputs

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

WITHIN_S = 60.0
API = "/api/v1"


@pytest.fixture
def program(studio: Studio) -> Iterator[httpx.Client]:
    """A client of the API, which has started, with the token of Label Studio's user."""
    headers = {"Authorization": f"Bearer {studio.server.token}"}
    with httpx.Client(base_url=studio.settings.own_url + API, headers=headers, timeout=60) as client:
        wait_until(lambda: client.get("/openapi.json").is_success, WITHIN_S, "the API", every=0.2)
        yield client


def test_both_kinds_of_tokens_are_accepted_and_nothing_else(program: httpx.Client, studio: Studio) -> None:
    assert program.get("/studies").status_code == 200
    personal = {"Authorization": f"Bearer {studio.server.personal_token()}"}
    assert program.get("/studies", headers=personal).status_code == 200
    for header in ("", "Bearer wrong", "Basic YTpi"):
        answer = program.get("/studies", headers={"Authorization": header})
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_no_token_is_in_the_log(program: httpx.Client, studio: Studio, processes: Processes) -> None:
    guess = "a-guess-that-nobody-may-read"
    program.get("/studies", headers={"Authorization": f"Bearer {guess}"})
    program.get("/studies")
    logs = [Path(process.log).read_bytes() for process in processes.noted() if process.name.startswith("web-")]
    assert logs
    for secret in (guess, studio.server.token):
        assert not any(secret.encode() in text for text in logs)


def test_wrong_tokens_are_limited_for_each_network_whatever_address_a_client_claims(program: httpx.Client) -> None:
    limit = int(WRONG_TOKENS.split()[0])
    codes = []
    for number in range(limit + 3):
        headers = {"Authorization": f"Bearer guess-{number}", "X-Datagen-Client": f"10.0.0.{number}"}
        codes.append(program.get("/studies", headers=headers).status_code)
    assert codes[-1] == 429
    assert set(codes) == {401, 429}
    assert program.get("/studies").status_code == 200, "a token that is known to be right is accepted"


def test_a_study_is_created_read_with_a_tag_and_decided_about(program: httpx.Client, studio: Studio) -> None:
    name = "made by a program"
    answer = program.post("/studies", json={"name": name, "labels": ["pit"]}, headers={"Idempotency-Key": "create"})
    assert answer.status_code == 201, answer.text
    studio.opened.append(name)
    assert answer.json()["not_done"] == []
    path = f"/studies/{answer.json()['id']}"
    first = program.get(path)
    assert program.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    refusal = program.post(f"{path}/decisions", json={"action": "build preview"})
    assert (refusal.status_code, refusal.json()["type"]) == (409, "urn:datagen:problem:not-ready")
    assert "6 more concept images" in refusal.json()["detail"] or "concept" in refusal.json()["detail"]
    assert program.post(f"{path}/decisions", json={"action": "stop"}).json()["state"] == "stopped"


def test_other_methods_paths_and_large_bodies_are_problems(program: httpx.Client, study: Study) -> None:
    for answer, status in (
        (program.put("/studies"), 405),
        (program.options("/studies"), 405),
        (program.get("/nothing"), 404),
        (program.post(f"/studies/{study.id}/decisions", json={"action": "stop", "note": "x" * 70_000}), 413),
    ):
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


# -- the how-to


@pytest.mark.usefixtures("alive", "program")
def test_the_script_of_the_how_to_takes_new_photos_to_a_dataset_and_does_nothing_twice(
    studio: Studio, tmp_path: Path
) -> None:
    given = good_inputs()
    (tmp_path / "concepts.zip").write_bytes(packed(given[Role.CONCEPT]))
    (tmp_path / "canvases.zip").write_bytes(packed(given[Role.CANVAS]))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, data, _ in given[Role.BACKGROUND]:
        (photos / name).write_bytes(data)
    out = tmp_path / "dataset.zip"
    name = "pits, unattended"
    studio.opened.append(name)
    command = [sys.executable, str(ROOT / "docs" / "examples" / "unattended.py")]
    command += ["--url", studio.settings.own_url, "--name", name, "--label", "pit", "--photos", str(photos)]
    command += ["--concepts", str(tmp_path / "concepts.zip"), "--canvases", str(tmp_path / "canvases.zip")]
    command += ["--count", "3", "--out", str(out)]
    environment = {**os.environ, "LABEL_STUDIO_TOKEN": studio.server.token}

    def run(*further: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *further], env=environment, capture_output=True, text=True, timeout=1_200, check=False
        )

    strict = run("--least-good", "0.8")
    assert strict.returncode == 1, strict.stdout
    assert "0% of the verdicts on round 1 are good" in strict.stderr
    assert not out.exists()

    for _ in range(2):  # the second time it only downloads
        result = run()
        assert result.returncode == 0, result.stdout + result.stderr
        with zipfile.ZipFile(out) as archive:
            assert archive.testzip() is None
            coco = json.loads(archive.read("coco.json"))
            assert {image["file_name"] for image in coco["images"]} <= set(archive.namelist())
        assert len(coco["images"]) == 3
        assert [category["name"] for category in coco["categories"]] == ["pit"]
    with studio.services.database.read() as session:
        of_study = select(BatchRow).join(StudyRow).where(StudyRow.name == name).order_by(BatchRow.id)
        batches = [(batch.kind, batch.number, batch.state) for batch in session.scalars(of_study)]
        note = session.scalars(of_study.where(BatchRow.kind == BatchKind.RUN)).one().note
    assert batches == [(BatchKind.ROUND, 1, WorkState.DONE), (BatchKind.RUN, 1, WorkState.DONE)]
    assert note.startswith("unattended: 0 of ")
