"""Downloads of a run by the API: what may be asked for, each once by its key, the file and its ranges, and the end."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyState
from datagen.store import api_requests
from datagen.store.tables.api_requests import ApiRequestRow
from datagen.store.tables.base import BatchKind, now
from datagen.store.tables.handovers import HandoverRow
from datagen.web.download_sending import MAX_SENT_OF_STUDY
from datagen.workflow.handovers.requests import MAX_UNDER_WAY, request_push
from datagen.workflow.handovers.wishes import PushWish

OF_RUN = "./batches/run/1/downloads"
BO = "bo@example.com"


@pytest.fixture
def program(program_in: Callable[[StudyState], Any]) -> Any:
    """A program; the study has a run of three images."""
    return program_in(StudyState.ACCEPTED)


def ask(program: Any, key: str | None = None, **body: Any) -> Any:
    return program.send("POST", OF_RUN, key=key, json=body)


def requested(program: Any, **body: Any) -> dict[str, Any]:
    """A download that is complete."""
    answer = ask(program, **body)
    assert answer.status_code == 201, answer.text
    program.studio.settle()
    download = program.read(f"{OF_RUN}/{answer.json['id']}")
    assert download["state"] == "done", download
    return dict(download)


def rows(program: Any) -> list[HandoverRow]:
    with program.studio.services.database.read() as session:
        return list(session.scalars(select(HandoverRow).order_by(HandoverRow.id)))


def names_in(data: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def test_a_download_is_requested_made_and_its_file_got(program: Any) -> None:
    answer = ask(program, formats=["coco", "yolo"])
    assert answer.status_code == 201, answer.text
    waiting = answer.json
    assert (waiting["state"], waiting["run"], waiting["requested_by"]) == ("pending", 1, "ann@example.com")
    assert (waiting["file"], waiting["bytes"], waiting["expires_at"]) == (None, None, None)
    assert waiting["options"]["formats"] == ["coco", "yolo"]
    early = program.send("GET", f"/downloads/{program.study.id}/{waiting['id']}")
    assert early.status_code == 404
    assert "not complete yet" in early.json["detail"]

    program.studio.settle()
    download = program.read(f"{OF_RUN}/{waiting['id']}")
    assert (download["state"], download["done"], download["total"]) == ("done", 3, 3)
    assert download["file"] == f"/downloads/{program.study.id}/{waiting['id']}"
    assert download["expires_at"] is not None
    file = program.send("GET", download["file"])
    assert (file.status_code, file.content_type) == (200, "application/zip")
    assert len(file.data) == download["bytes"]
    assert any(name.startswith("coco") for name in names_in(file.data))
    line = program.read("./audit-log")["items"][0]
    assert (line["who"], line["what"]) == ("ann@example.com", "download of run 1")


def test_chosen_and_matching_images_are_downloaded_alone(program: Any) -> None:
    index = program.study.samples_of(program.study.batches(BatchKind.RUN)[0])[1].index
    assert requested(program, indices=[index, index])["total"] == 1
    assert requested(program, matching={"label": "pit"})["total"] == 3
    assert requested(program, matching={})["total"] == 3


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"indices": []}, "No image is chosen"),
        ({"formats": []}, "Choose one format or more"),
        ({"formats": ["paper"]}, "paper"),
        ({"split": "1,2,3,4"}, "no split"),
        ({"real_percent": 91}, "no share of real photos"),
        ({"labels": ["dent"]}, "dent"),
        ({"min_size": "much"}, "much"),
        ({"matching": {"place": "behind"}}, "behind"),
        ({"matching": {"background": "no\x00where"}}, "No image of the run matches"),
    ],
)
def test_values_that_cannot_be_used_are_refused_with_the_sentence_of_the_form(
    program: Any, body: dict[str, Any], sentence: str
) -> None:
    answer = ask(program, **body)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:unusable-input")
    assert sentence in answer.json["detail"]
    assert rows(program) == []


@pytest.mark.parametrize("body", [{"images": "gif"}, {"verdicts": ["fine"]}, {"tile": -1}, {"run": 2}])
def test_a_body_outside_the_document_makes_no_download(program: Any, body: dict[str, Any]) -> None:
    answer = ask(program, **body)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:wrong-request")
    assert rows(program) == []


def test_few_downloads_are_under_way_at_a_time_and_a_cancelled_one_makes_room(program: Any) -> None:
    ids = [ask(program).json["id"] for _ in range(MAX_UNDER_WAY)]
    answer = ask(program)
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:refused")
    assert "are under way" in answer.json["detail"]
    cancelled = program.send("DELETE", f"{OF_RUN}/{ids[0]}")
    assert (cancelled.status_code, cancelled.json["state"]) == (200, "cancelled")
    assert ask(program).status_code == 201
    again = program.send("DELETE", f"{OF_RUN}/{ids[0]}")
    assert (again.status_code, again.json["detail"]) == (409, "It has ended already.")
    program.studio.settle()
    file = program.send("GET", f"/downloads/{program.study.id}/{ids[0]}")
    assert (file.status_code, "not kept any more" in file.json["detail"]) == (404, True)


def test_downloads_are_listed_in_pages_without_pushes(program: Any) -> None:
    ids = [requested(program, formats=[name])["id"] for name in ("coco", "yolo", "voc")]
    push = PushWish(run=1, project_id=None, title="elsewhere")
    push_id = request_push(program.studio.services, program.study.id, push, "ann@example.com")
    first = program.read(f"{OF_RUN}?limit=2")
    rest = program.read(f"{OF_RUN}?limit=2&cursor={first['next_cursor']}")
    assert [each["id"] for each in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    for method, path in (("GET", f"{OF_RUN}/{push_id}"), ("DELETE", f"{OF_RUN}/{push_id}")):
        assert program.send(method, path).status_code == 404
    assert program.send("GET", f"/downloads/{program.study.id}/{push_id}").status_code == 404


def test_another_run_or_study_or_account_has_no_such_download(program: Any) -> None:
    download = requested(program)
    other = program.studio.open_study(inputs=False)
    assert program.send("GET", f"./batches/run/2/downloads/{download['id']}").status_code == 404
    assert program.send("POST", "./batches/run/2/downloads", json={}).status_code == 404
    assert program.send("GET", f"/studies/{other.id}/batches/run/1/downloads/{download['id']}").status_code == 404
    assert program.send("GET", f"/downloads/{other.id}/{download['id']}").status_code == 404
    program.accounts.restricted[BO] = frozenset()
    program.token = f"token of {BO}"
    for method, path in (
        ("GET", OF_RUN),
        ("POST", OF_RUN),
        ("GET", f"{OF_RUN}/{download['id']}"),
        ("DELETE", f"{OF_RUN}/{download['id']}"),
        ("GET", download["file"]),
    ):
        assert program.send(method, path, json={} if method == "POST" else None).status_code == 404, (method, path)
    program.token = "wrong"
    assert program.send("GET", download["file"]).status_code == 401
    assert len(rows(program)) == 1


def test_an_interrupted_file_goes_on_and_an_unchanged_one_is_not_sent_again(program: Any) -> None:
    path = requested(program)["file"]

    def get(**headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return program.send("GET", path, headers=sent, buffered=True)

    whole = get()
    tag = whole.headers["ETag"]
    first = get(Range="bytes=0-99")
    assert (first.status_code, first.data) == (206, whole.data[:100])
    rest = get(Range="bytes=100-", If_Range=tag)
    assert first.data + rest.data == whole.data
    beyond = get(Range=f"bytes={len(whole.data)}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.data)}")
    unchanged = get(If_None_Match=tag)
    assert (unchanged.status_code, unchanged.data) == (304, b"")


def test_few_files_of_a_study_are_sent_at_a_time(program: Any) -> None:
    path = requested(program)["file"]
    open_answers = [program.send("GET", path, buffered=False) for _ in range(MAX_SENT_OF_STUDY)]
    refused = program.send("GET", path)
    assert (refused.status_code, refused.json["type"]) == (503, "urn:datagen:problem:unavailable")
    assert refused.headers["Retry-After"] == "30"
    for answer in open_answers:
        answer.close()
    assert program.send("GET", path).status_code == 200


def test_a_request_that_is_sent_again_makes_no_second_download(program: Any) -> None:
    first, again = ask(program, key="one"), ask(program, key="one")
    assert first.json == again.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert ask(program, key="one", formats=["yolo"]).json["type"] == "urn:datagen:problem:idempotency-key-reused"
    assert len(rows(program)) == 1


def test_a_request_whose_process_ended_after_its_change_finds_the_download_that_it_made(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_requests, "finish", lambda *_: None)  # as if it were killed before the response was stored
    body = {"formats": ["yolo"], "indices": [2, 1], "matching": {"label": "pit"}}
    first = ask(program, key="one", **body)
    assert first.status_code == 201, first.text
    ask(program)
    monkeypatch.undo()
    with program.studio.services.database.write() as session:
        for row in session.scalars(select(ApiRequestRow)):
            row.started_at = now() - timedelta(seconds=api_requests.ABANDONED_SECONDS + 1)
    answer = ask(program, key="one", **body)
    assert (answer.status_code, answer.json["id"]) == (201, first.json["id"])
    assert len(rows(program)) == 2


def test_a_request_that_another_process_took_over_makes_no_download(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_requests, "mark_applied", lambda *_: False)
    answer = ask(program, key="one")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:idempotency-key-in-use")
    assert rows(program) == []


def test_a_run_without_an_image_has_no_download_yet(program_in: Callable[[StudyState], Any]) -> None:
    answer = ask(program_in(StudyState.GENERATING))
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:not-ready")
