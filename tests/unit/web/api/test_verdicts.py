"""Verdicts by the API: in the account's own name, changed and taken back, and the refusals of the contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import LabelStudioUnavailable
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SampleRow
from datagen.workflow.reviews.page_verdicts import LATE, LONGEST_COMMENT

ANN, BO = "ann@example.com", "bo@example.com"


def sample(program: Any) -> SampleRow:
    first: SampleRow = program.study.samples_of(program.study.batches(BatchKind.ROUND)[0])[0]
    return first


def verdict_of(program: Any) -> str:
    return f"./samples/{sample(program).id}/verdict"


def give(program: Any, opinion: str, **body: Any) -> Any:
    return program.send("POST", verdict_of(program), json={"opinion": opinion, **body})


def annotations(program: Any) -> list[Any]:
    """The annotations of the sample's review task in Label Studio."""
    project_id = program.study.projects[ProjectKind.PREVIEWS]
    return list(program.studio.client.task(sample(program).task_id, project_id).annotations)


def test_a_verdict_is_the_accounts_own_annotation_and_is_changed(program: Any) -> None:
    program.token = f"token of {BO}"
    answer = give(program, "bad", reasons=["too strong", "wrong place"], comment=" left of it \n")
    assert answer.status_code == 200, answer.text
    [verdict] = answer.json["verdicts"]
    assert (verdict["reviewer"], verdict["opinion"], verdict["comment"]) == (BO, "bad", "left of it")
    assert set(verdict["reasons"]) == {"too strong", "wrong place"}
    assert (verdict["counts"], answer.json["note"]) == (True, "")
    [annotation] = annotations(program)
    assert annotation.submitted_by == 2
    [changed] = give(program, "good").json["verdicts"]
    assert (changed["opinion"], changed["reasons"], changed["comment"]) == ("good", [], "")
    assert [each.id for each in annotations(program)] == [annotation.id]
    assert program.read(f"./samples/{sample(program).id}")["verdicts"] == [changed]


def test_only_the_accounts_own_verdict_is_taken_back(program: Any) -> None:
    give(program, "good")
    program.token = f"token of {BO}"
    give(program, "bad")
    answer = program.send("DELETE", verdict_of(program))
    assert answer.status_code == 200, answer.text
    assert [each["reviewer"] for each in answer.json["verdicts"]] == [ANN]
    assert program.send("DELETE", verdict_of(program)).status_code == 200, "there is none any more"
    assert [each.submitted_by for each in annotations(program)] == [1]


@pytest.mark.parametrize(
    "body", [{}, {"opinion": "fine"}, {"opinion": "good", "reasons": ["ugly"]}, {"opinion": "good", "for": BO}]
)
def test_a_body_outside_the_document_is_no_verdict(program: Any, body: dict[str, Any]) -> None:
    answer = program.send("POST", verdict_of(program), json=body)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:wrong-request")
    assert annotations(program) == []


def test_a_comment_that_is_too_long_is_refused_as_on_the_sheet(program: Any) -> None:
    answer = give(program, "bad", comment="x" * (LONGEST_COMMENT + 1))
    assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:refused")
    assert "shorten it" in answer.json["detail"]
    assert annotations(program) == []


def test_a_late_verdict_is_saved_with_a_note(program: Any) -> None:
    program.study.act(StudyEvent.STOP)
    program.studio.settle()
    answer = give(program, "good")
    assert (answer.status_code, answer.json["note"]) == (200, LATE)


def test_images_of_a_run_take_no_verdicts(program_in: Callable[[StudyState], Any]) -> None:
    program = program_in(StudyState.ACCEPTED)
    of_run = program.study.samples_of(program.study.batches(BatchKind.RUN)[0])[0]
    for method, body in (("POST", {"opinion": "good"}), ("DELETE", None)):
        answer = program.send(method, f"./samples/{of_run.id}/verdict", json=body)
        assert (answer.status_code, answer.json["type"]) == (409, "urn:datagen:problem:refused")
        assert "Images of a run take no verdicts" in answer.json["detail"]


def test_who_does_not_see_the_study_gives_no_verdict(program: Any) -> None:
    path = verdict_of(program)
    program.accounts.restricted[BO] = frozenset()
    program.token = f"token of {BO}"
    assert program.send("POST", path, json={"opinion": "good"}).status_code == 404
    assert program.send("DELETE", path).status_code == 404
    assert annotations(program) == []


def test_without_label_studio_the_verdict_is_to_be_sent_again(program: Any) -> None:
    def unavailable(*_: Any, **__: Any) -> None:
        raise LabelStudioUnavailable("Label Studio cannot be reached")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(program.studio.client), "annotate", unavailable)
        answer = program.send("POST", verdict_of(program), key="one", json={"opinion": "good"})
    assert (answer.status_code, answer.json["type"]) == (503, "urn:datagen:problem:unavailable")
    assert "Send the same request again" in answer.json["detail"]
    assert answer.headers["Retry-After"]
    assert program.send("POST", verdict_of(program), key="one", json={"opinion": "good"}).status_code == 200
