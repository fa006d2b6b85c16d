"""Of a webhook's body only ids are read; other bodies are refused with a sentence; secrets are not stored."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.errors import InputProblem
from datagen.label_studio.api.webhook_payload import WebhookEvent

PROJECT = {"id": 3, "title": "t", "token": "project-secret", "task_data_password": "hunter2", "updated_at": "T0"}


def annotation(id_: int, task: int = 9, updated_at: str = "T1") -> dict[str, Any]:
    return {"id": id_, "task": task, "updated_at": updated_at, "result": [], "project": 3}


def parsed(action: str, **body: Any) -> WebhookEvent:
    return WebhookEvent.parse(json.dumps({"action": action, "project": PROJECT, **body}).encode())


def test_an_annotation_names_its_task() -> None:
    event = parsed("ANNOTATION_CREATED", annotation=annotation(5), task={"id": 9, "data": {}})
    assert (event.action, event.project_id, event.task_ids, event.annotation_ids) == (
        "ANNOTATION_CREATED",
        3,
        (9,),
        (5,),
    )


def test_annotations_made_in_bulk_come_as_lists_under_the_singular() -> None:
    event = parsed(
        "ANNOTATIONS_CREATED", annotation=[annotation(5, 9), annotation(6, 10)], task=[{"id": 9}, {"id": 10}]
    )
    assert (event.task_ids, event.annotation_ids) == ((9, 10), (5, 6))


def test_deletions_carry_ids_only() -> None:
    assert parsed("ANNOTATIONS_DELETED", annotations=[{"id": 6}, {"id": 5}]).annotation_ids == (5, 6)
    assert parsed("TASKS_DELETED", tasks=[{"id": 6}, {"id": 5}]).task_ids == (5, 6)


def test_start_training_names_a_project_alone() -> None:
    event = parsed("START_TRAINING")
    assert (event.project_id, event.task_ids, event.annotation_ids) == (3, (), ())


def test_an_action_of_a_newer_label_studio_does_no_harm() -> None:
    assert parsed("STARS_ALIGNED").action == "STARS_ALIGNED"


def test_the_same_delivery_twice_is_the_same_event() -> None:
    assert (
        parsed("ANNOTATION_UPDATED", annotation=annotation(5)).fingerprint
        == parsed("ANNOTATION_UPDATED", annotation=annotation(5)).fingerprint
    )


@pytest.mark.parametrize(
    "other",
    [
        parsed("ANNOTATION_UPDATED", annotation=annotation(5, updated_at="T2")),
        parsed("ANNOTATION_UPDATED", annotation=annotation(6)),
        parsed("ANNOTATION_CREATED", annotation=annotation(5)),
        WebhookEvent.parse({"action": "ANNOTATION_UPDATED", "project": {"id": 4}, "annotation": annotation(5)}),
    ],
)
def test_another_event_is_told_apart(other: WebhookEvent) -> None:
    assert parsed("ANNOTATION_UPDATED", annotation=annotation(5)).fingerprint != other.fingerprint


def test_tasks_that_got_the_ids_of_deleted_ones_are_another_event() -> None:
    first = parsed("TASKS_CREATED", tasks=[{"id": 1, "updated_at": "T1"}])
    assert first.fingerprint != parsed("TASKS_CREATED", tasks=[{"id": 1, "updated_at": "T2"}]).fingerprint


def test_a_second_click_on_start_training_is_another_event() -> None:
    assert parsed("START_TRAINING").fingerprint != parsed("START_TRAINING").fingerprint


def test_nothing_secret_is_kept() -> None:
    event = parsed("ANNOTATION_CREATED", annotation=annotation(5))
    assert "secret" not in repr(event)
    assert "hunter2" not in repr(event)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "empty"),
        (b"  ", "empty"),
        (b"action=x", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no JSON object"),
        (b"7", "no JSON object"),
        (b"{}", "names no action"),
        (b'{"action": 7}', "names no action"),
        (b'{"action": "TASKS_CREATED"}', "names no project"),
        (b'{"action": "TASKS_CREATED", "project": {}}', "names no project"),
        (b'{"action": "TASKS_CREATED", "project": {"id": "3"}}', "names no project"),
        (b'{"action": "TASKS_CREATED", "project": {"id": true}}', "names no project"),
        (b'{"action": "TASKS_CREATED", "project": {"id": 99999999999999999999}}', "names no project"),
    ],
)
def test_what_is_no_webhook_is_a_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(InputProblem, match=sentence):
        WebhookEvent.parse(body)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "task", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)
bodies = st.fixed_dictionaries(
    {"action": junk | st.just("TASKS_CREATED"), "project": junk | st.just({"id": 1})},
    optional={"annotation": junk, "annotations": junk, "task": junk, "tasks": junk},
)


@given(bodies | junk.filter(lambda body: isinstance(body, dict)))
def test_junk_is_an_event_or_a_sentence(body: dict[str, Any]) -> None:
    with suppress(InputProblem):
        event = WebhookEvent.parse(body)
        assert all(0 < number < 2**63 for number in (*event.task_ids, *event.annotation_ids, event.project_id))
        assert len(event.action) <= 64


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_sentence(body: bytes) -> None:
    with pytest.raises(InputProblem):
        WebhookEvent.parse(body)
