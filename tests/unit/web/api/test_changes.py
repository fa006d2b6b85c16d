"""Changes by the API: decisions with the guards of the decision task, inputs, and each of them once by its key."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.errors import LabelStudioUnavailable
from datagen.imaging.png_encoder import encode_png
from datagen.store import api_requests
from datagen.store.tables.api_requests import ApiRequestRow
from datagen.store.tables.base import BatchKind, now
from datagen.store.tables.batches import BatchRow
from datagen.web.api import inputs as api_inputs
from datagen.web.api.idempotency import _digest_of_request
from datagen.workflow.study_pages.access import known_projects
from renaming import rename_before
from studio import plate


def runs(program: Any) -> list[BatchRow]:
    return [batch for batch in program.study.batches() if batch.kind is BatchKind.RUN]


def approve(program: Any, key: str | None = None, **body: Any) -> Any:
    return program.decide(key=key, **{"action": "approve", "count": 2, "confirmed": True, **body})


def age(program: Any, seconds: float) -> None:
    """Make every key older."""
    with program.studio.services.database.write() as session:
        for row in session.scalars(select(ApiRequestRow)):
            row.started_at -= timedelta(seconds=seconds)


def test_a_decision_is_carried_out_in_the_name_of_the_token(program: Any) -> None:
    answer = approve(program, name="night run", note="unattended")
    assert answer.status_code == 201, answer.text
    assert answer.json == {
        "action": "approve",
        "decided_by": "ann@example.com",
        "state": "generating",
        "started": {"kind": "run", "number": 1, "count": 2},
    }
    line = program.read("./audit-log")["items"][0]
    assert line["who"] == "ann@example.com"
    assert "note: unattended" in line["what"]
    program.studio.settle()
    decision = program.read("./decisions")["items"][0]
    assert (decision["action"], decision["decided_by"], decision["started"]["kind"]) == (
        "approve",
        "ann@example.com",
        "run",
    )


def test_a_decision_with_consequences_has_to_be_confirmed(program: Any) -> None:
    answer = approve(program, confirmed=False)
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:not-confirmed")
    assert answer.json["reasons"] == [answer.json["detail"]]
    assert "“confirmed”: true" in answer.json["confirm"]
    assert "press Update" not in answer.text
    assert runs(program) == []


def test_a_run_is_paused_once_and_resumed(program: Any) -> None:
    approve(program)
    assert program.decide(action="pause", note="night", key="pause-1").json["state"] == "paused"
    assert program.decide(action="pause", note="night", key="pause-1").json["state"] == "paused", "the same request"
    run = program.read("./batches/run/1")
    assert (run["state"], run["paused_by"], run["problem"]) == (
        "paused",
        "ann@example.com",
        "paused by ann@example.com: night",
    )
    assert run["paused_at"] is not None
    answer = program.decide(action="pause", key="pause-2")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:refused")
    assert "the generation run is paused" in answer.json["detail"]
    assert program.decide(action="go on").json["state"] == "generating"
    program.studio.settle()
    run = program.read("./batches/run/1")
    assert (run["state"], run["paused_by"], run["paused_at"]) == ("done", None, None)


def test_a_decision_that_the_state_does_not_allow_is_refused_with_the_reason(program: Any) -> None:
    answer = program.decide(action="go on")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:refused")
    assert program.study.row().state is StudyState.REVIEWING


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "explode"},
        {"action": "approve", "count": "2"},
        {"action": "approve", "count": 0},
        {"action": "stop", "note": "x" * 2_001},
        {"action": "stop", "other": 1},
        [],
        "stop",
    ],
)
def test_a_body_outside_the_document_changes_nothing(program: Any, body: Any) -> None:
    answer = program.send("POST", "./decisions", json=body)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:wrong-request")
    assert answer.json["faults"][0]["where"].startswith("body")
    assert program.study.row().state is StudyState.REVIEWING


def test_a_body_of_another_type_or_too_large_is_refused(program: Any) -> None:
    assert program.send("POST", "./decisions", data="action=stop").status_code == 415
    large = program.send("POST", "./decisions", json={"action": "stop", "note": "x" * 70_000})
    assert large.status_code == 413
    assert program.send("POST", "./decisions", data=b"{", content_type="application/json").status_code == 422


def test_without_label_studio_nothing_is_decided(program: Any) -> None:
    def unavailable(*_: Any, **__: Any) -> None:
        raise LabelStudioUnavailable("Label Studio cannot be reached")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(program.studio.client), "tasks", unavailable)
        answer = approve(program, key="k")
    assert answer.status_code == 503
    assert "nothing was changed" in answer.json["detail"]
    assert runs(program) == []
    assert approve(program, key="k").status_code == 201, "the key is free again"


# -- idempotency keys


def test_a_request_that_is_sent_again_starts_no_second_run_and_has_the_same_response(program: Any) -> None:
    first, again = approve(program, key="one"), approve(program, key="one")
    assert first.status_code == again.status_code == 201
    assert first.json == again.json
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    program.studio.settle()
    assert approve(program, key="one").json == first.json
    assert len(runs(program)) == 1
    assert approve(program, key="two").status_code == 201
    assert len(runs(program)) == 2


def test_a_key_with_another_request_is_refused(program: Any) -> None:
    approve(program, key="one")
    answer = approve(program, key="one", count=3)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:idempotency-key-reused")
    assert len(runs(program)) == 1


def test_a_key_belongs_to_its_account(program: Any) -> None:
    approve(program, key="one")
    program.studio.settle()
    program.token = "token of bo@example.com"
    answer = approve(program, key="one")
    assert answer.status_code == 201
    assert answer.json["decided_by"] == "bo@example.com"


@pytest.mark.parametrize("key", ["", " ", "a b", "ü", "x" * 256])
def test_what_is_no_key_is_refused(program: Any, key: str) -> None:
    answer = program.decide(key=key, action="stop")
    assert (answer.status_code, answer.json["type"]) == (400, "urn:datagen:problem:wrong-idempotency-key")
    assert program.study.row().state is StudyState.REVIEWING


def test_while_a_request_is_carried_out_its_key_is_in_use(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inner: list[Any] = []

    def deciding(*_: Any) -> None:
        inner.append(approve(program, key="one"))
        raise RuntimeError

    monkeypatch.setattr("datagen.web.api.decisions.decide", deciding)
    assert approve(program, key="one").status_code == 500
    [answer] = inner
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:idempotency-key-in-use")
    assert answer.headers["Retry-After"]


def test_a_request_whose_process_ended_after_the_decision_is_answered_and_not_carried_out_again(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_requests, "finish", lambda *_: None)  # as if it were killed before the response was stored
    assert approve(program, key="one").status_code == 201
    monkeypatch.undo()
    age(program, api_requests.ABANDONED_SECONDS + 1)
    answer = approve(program, key="one")
    assert answer.status_code == 201
    assert answer.json["started"] == {"kind": "run", "number": 1, "count": 2}
    assert len(runs(program)) == 1


def test_a_decision_that_was_stored_though_the_queue_failed_is_not_made_again(program: Any) -> None:
    def full(*_: Any) -> None:
        raise RedisConnectionError

    enqueue = program.studio.services.enqueue
    object.__setattr__(program.studio.services, "enqueue", full)
    assert approve(program, key="one").status_code == 503
    object.__setattr__(program.studio.services, "enqueue", enqueue)
    assert approve(program, key="one").status_code == 201
    assert len(runs(program)) == 1


def test_a_request_whose_process_ended_before_the_decision_is_carried_out_after_a_while(program: Any) -> None:
    database = program.studio.services.database
    digest = api_requests.key_digest(1, "one")
    approve(program, key="one", count=0)  # refused before the key is looked at
    with program.app.test_request_context(
        f"/api/v1/studies/{program.study.id}/decisions",
        method="POST",
        json={"action": "approve", "count": 2, "confirmed": True},
    ):
        abandoned = api_requests.claim(database, digest, _digest_of_request())
    assert isinstance(abandoned, api_requests.Claim)
    assert approve(program, key="one").status_code == 409
    age(program, api_requests.ABANDONED_SECONDS + 1)
    assert approve(program, key="one").status_code == 201
    with database.write() as session:
        assert not api_requests.mark_applied(session, abandoned), "it was slow, and another process has decided"
    assert len(runs(program)) == 1


def test_keys_are_forgotten_after_a_day(program: Any) -> None:
    approve(program, key="one")
    database = program.studio.services.database
    assert api_requests.prune(database) == 0
    age(program, api_requests.KEPT_HOURS * 3600 + 1)
    program.studio.settle()
    assert approve(program, key="two").status_code == 201
    assert api_requests.prune(database) == 1
    with database.read() as session:
        [row] = session.scalars(select(ApiRequestRow))
        assert row.started_at > now() - timedelta(minutes=5)


def test_no_token_and_no_key_is_stored(program: Any) -> None:
    approve(program, key="a-key-in-the-clear")
    with program.studio.services.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    stored = (program.studio.folder / "rows.sqlite3").read_bytes()
    assert b"a-key-in-the-clear" not in stored
    assert program.token.encode() not in stored


# -- inputs


def png(number: int) -> bytes:
    return encode_png(plate(number))


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return buffer.getvalue()


def count_of(program: Any, role: str) -> int:
    return sum(1 for _ in program.read(f"./inputs/{role}?limit=200")["items"])


def test_photos_are_added_as_files_or_as_a_zip_and_once(program: Any) -> None:
    before = count_of(program, "background")
    form = {"files": [(io.BytesIO(png(501)), "a.png"), (io.BytesIO(png(502)), "b.png")]}
    answer = program.send("POST", "./inputs/background", data=form)
    assert answer.status_code == 200, answer.text
    assert (answer.json["new"], answer.json["known"], answer.json["problems"]) == (2, 0, [])
    upload = zipped(b_png=png(502), c_png=png(503), d_txt=b"no picture")
    answer = program.send("POST", "./inputs/background", data=upload, content_type="application/zip")
    assert (answer.json["new"], answer.json["known"]) == (1, 1)
    program.studio.settle()
    assert count_of(program, "background") == before + 3


def test_a_form_that_is_sent_again_with_its_key_adds_nothing(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def send() -> Any:
        form = {"files": [(io.BytesIO(png(511)), "a.png")]}
        return program.send("POST", "./inputs/background", data=form, key="photos")  # with another boundary each time

    first = send()
    monkeypatch.setattr(api_inputs, "add_files", lambda *_: pytest.fail("it was carried out again"))
    assert send().json == first.json


def test_pictures_on_label_studio_are_added_by_their_addresses(program: Any) -> None:
    project = program.study.projects[ProjectKind.BACKGROUNDS]
    [address] = program.studio.addresses(project, [("there.png", png(521))])
    answer = program.send("POST", "./inputs/background", json={"urls": [address, "http://192.0.2.7/x.png"]})
    assert answer.status_code == 200, answer.text
    assert answer.json["new"] == 1
    assert "another server" in answer.json["problems"][0]


def test_the_tasks_of_a_project_are_added(program_in: Callable[[StudyState], Any]) -> None:
    program = program_in(StudyState.COLLECTING)
    other = program.studio.open_study()
    program.studio.settle()
    project = other.projects[ProjectKind.BACKGROUNDS]
    answer = program.send("POST", "./inputs/background", json={"project_id": project})
    assert answer.status_code == 200, answer.text
    assert answer.json["new"] + answer.json["known"] > 0


def test_a_project_that_label_studio_does_not_have_is_refused(program: Any) -> None:
    answer = program.send("POST", "./inputs/background", json={"project_id": 987_654})
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:unusable-input")
    assert "987654" in answer.json["detail"]


@pytest.mark.parametrize("body", [{}, {"view_id": 1}, {"urls": ["/x"], "project_id": 1}, {"urls": []}])
def test_inputs_without_a_source_are_refused(program: Any, body: dict[str, Any]) -> None:
    assert program.send("POST", "./inputs/background", json=body).status_code == 422


def test_an_account_that_does_not_see_every_project_names_nothing_on_label_studio(program: Any) -> None:
    with program.studio.services.database.read() as session:
        program.accounts.restricted["ann@example.com"] = frozenset(known_projects(session))
    answer = program.send("POST", "./inputs/background", json={"project_id": 1})
    assert answer.status_code == 403
    form = {"files": [(io.BytesIO(png(531)), "a.png")]}
    assert program.send("POST", "./inputs/background", data=form).status_code == 200


@pytest.mark.parametrize("is_restricted", [True, False])
def test_an_uploaded_export_names_pictures_on_label_studio_only_for_who_sees_every_project(
    program: Any, is_restricted: bool
) -> None:
    client = program.studio.services.label_studio
    [address] = client.upload(client.create_project("hidden", {}).id, [("secret.png", png(561))])
    if is_restricted:
        with program.studio.services.database.read() as session:
            program.accounts.restricted["ann@example.com"] = frozenset(known_projects(session))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tasks.json", json.dumps([{"data": {"image": address}}]))
    answer = program.send("POST", "./inputs/background", data=buffer.getvalue(), content_type="application/zip")
    assert answer.status_code == 200, answer.text
    assert answer.json["new"] == (0 if is_restricted else 1)
    assert is_restricted == any("not among the files" in problem for problem in answer.json["problems"])


@pytest.mark.parametrize("name", ["", "..", ".hidden", "../../etc/passwd", "a\\..\\b.png"])
def test_a_name_of_a_file_does_not_lead_out_of_the_upload(program: Any, name: str) -> None:
    answer = program.send("POST", "./inputs/background", data={"files": [(io.BytesIO(png(541)), name)]})
    assert answer.status_code in (200, 422)
    if answer.status_code == 200:
        assert answer.json["new"] <= 1


def test_too_many_files_or_two_of_one_name_are_refused(program: Any) -> None:
    many = {"files": [(io.BytesIO(b"x"), f"{number}.png") for number in range(api_inputs.MAX_FILES + 1)]}
    assert program.send("POST", "./inputs/background", data=many).status_code == 422
    twice = {"files": [(io.BytesIO(b"x"), "a.png"), (io.BytesIO(b"y"), "a.png")]}
    assert program.send("POST", "./inputs/background", data=twice).status_code == 422
    none = program.send("POST", "./inputs/background", data={"other": "x"}, content_type="multipart/form-data")
    assert none.status_code == 422


def test_a_zip_that_is_none_is_refused(program: Any) -> None:
    answer = program.send("POST", "./inputs/background", data=b"no zip", content_type="application/zip")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:unusable-input")
    assert "/tmp" not in answer.text


def test_a_zip_that_unpacks_to_too_much_is_refused(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_inputs, "LARGEST_UNPACKED", 10_000)
    upload = zipped(a_png=png(551), b_txt=b"0" * 10_001)
    answer = program.send("POST", "./inputs/background", data=upload, content_type="application/zip")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:unusable-input")
    assert answer.json["detail"].startswith("upload.zip unpacks to more than ")


def test_inputs_go_to_the_study_that_was_checked_though_another_takes_its_name(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = program.studio.open_study(inputs=False)
    database, background = program.studio.services.database, ProjectKind.BACKGROUNDS
    rename_before(monkeypatch, api_inputs, "add_files", database, program.study.id, other.id)
    before = len(program.study.tasks(background))
    answer = program.send("POST", "./inputs/background", data={"files": [(io.BytesIO(png(551)), "a.png")]})
    assert answer.status_code == 200, answer.text
    assert (len(program.study.tasks(background)), len(other.tasks(background))) == (before + 1, 0)
