"""Access to the API: tokens of Label Studio, checked once a minute, and nothing else."""

from __future__ import annotations

import time
from typing import Any

import pytest

from datagen.web.api.app import CHANGES_PER_SECOND
from datagen.web.api.bearer import KEPT_SECONDS, WRONG_TOKENS
from datagen.workflow.study_pages.access import known_projects


def count_checks(program: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that Label Studio is asked about from now on."""
    asked: list[str] = []
    by_token = program.accounts.by_token

    def counted(token: str, project_ids: Any) -> Any:
        asked.append(token)
        return by_token(token, project_ids)

    monkeypatch.setattr(program.accounts, "by_token", counted)
    return asked


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "Token"])
def test_a_token_is_accepted_in_both_schemes(program: Any, scheme: str) -> None:
    answer = program.send("GET", "/studies", headers={"Authorization": f"{scheme} {program.token}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer wrong", "Bearer " + "x" * 5_000])
def test_without_an_accepted_token_nothing_is_answered(program: Any, header: str) -> None:
    answer = program.send("GET", ".", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert program.study.name not in answer.text
    assert "wrong" not in answer.json["detail"]


def test_a_session_cookie_of_the_pages_is_no_token(program: Any) -> None:
    program.client.set_cookie("datagen_session", "anything", path="/")
    assert program.client.get("/api/v1/studies").status_code == 401


def test_label_studio_is_asked_about_a_token_once_a_minute(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_checks(program, monkeypatch)
    for _ in range(3):
        program.read("/studies")
    assert len(asked) == 1
    program.clock.now += KEPT_SECONDS + 1
    program.read("/studies")
    assert len(asked) == 2


def test_a_token_that_was_revoked_is_refused_after_a_minute(program: Any) -> None:
    program.read("/studies")
    del program.accounts.people["ann@example.com"]
    program.clock.now += KEPT_SECONDS + 1
    assert program.send("GET", "/studies").status_code == 401


def test_a_network_with_many_wrong_tokens_has_to_wait_and_label_studio_is_not_asked(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_checks(program, monkeypatch)
    limit = int(WRONG_TOKENS.split()[0])

    def statuses(number: int, address: str) -> list[int]:
        environ = {"REMOTE_ADDR": address}
        header = [{"Authorization": f"Bearer guess {each}"} for each in range(number)]
        return [program.send("GET", "/studies", headers=each, environ_base=environ).status_code for each in header]

    assert statuses(limit + 2, "10.0.0.1") == [401] * limit + [429] * 2
    assert len(asked) == limit
    assert program.send("GET", "/studies", environ_base={"REMOTE_ADDR": "10.0.0.2"}).status_code == 200
    # a token that is known to be right is accepted from the network with the wrong ones, too
    assert program.send("GET", "/studies", environ_base={"REMOTE_ADDR": "10.0.0.1"}).status_code == 200


def test_while_label_studio_is_away_known_tokens_work_and_others_wait(program: Any) -> None:
    program.read("/studies")
    program.accounts.is_on = False
    program.read("/studies")
    answer = program.send("GET", "/studies", headers={"Authorization": "Bearer token of bo@example.com"})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


def test_an_account_that_lacks_a_project_finds_nothing_of_the_study(program: Any) -> None:
    with program.studio.services.database.read() as session:
        projects = known_projects(session)
    program.accounts.restricted["ann@example.com"] = frozenset(projects[1:])
    sample = program.study.samples_of(program.study.batches()[0])[0]
    assert program.read("/studies")["items"] == []
    for path in (
        ".",
        "./inputs/concept",
        "./versions",
        "./versions/1",
        "./versions/1/spec",
        "./versions/1/acceptance",
        "./batches",
        "./batches/round/1",
        "./batches/round/1/samples",
        f"./samples/{sample.id}",
        f"./samples/{sample.id}/image",
        f"./samples/{sample.id}/mask",
        "./decisions",
        "./audit-log",
    ):
        answer = program.send("GET", path)
        assert answer.status_code == 404, path
        assert "Label Studio does not show you" in answer.json["detail"]
    assert program.decide(action="stop").status_code == 404
    assert program.send("POST", "./inputs/concept", json={"urls": ["/x"]}).status_code == 404
    creation = program.send("POST", "/studies", json={"name": "another", "labels": ["pit"]})
    assert creation.status_code == 403


def test_no_response_may_be_read_by_another_origin_or_kept_by_a_proxy(program: Any) -> None:
    headers = program.send("GET", "/studies", headers={"Origin": "https://elsewhere.example"}).headers
    assert not [name for name, _ in headers if name.startswith("Access-Control")]
    assert "private" in headers["Cache-Control"]
    assert program.send("OPTIONS", "/studies").status_code == 405


def test_more_changes_in_a_second_than_allowed_are_answered_with_429(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000.5)  # the counters' clock

    def status(address: str) -> int:
        answer = program.send("POST", "./decisions", json={}, environ_base={"REMOTE_ADDR": address})
        return int(answer.status_code)

    assert [status("10.0.0.1") for _ in range(CHANGES_PER_SECOND + 1)] == [422] * CHANGES_PER_SECOND + [429]
    assert status("10.0.0.2") == 422
