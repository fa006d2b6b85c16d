"""The models read the API's answers, in each form in which Label Studio sends them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datagen.label_studio.api.authorship import marked
from datagen.label_studio.api.models import Annotation, Task, Webhook, stamp


def test_the_annotation_that_counts_is_the_one_submitted_last_that_is_no_skip() -> None:
    task = Task.from_json(
        {
            "id": 1,
            "annotations": [
                {"id": 5, "updated_at": "2026-01-01T00:00:02Z"},
                {"id": 6, "updated_at": "2026-01-01T00:00:01Z"},
                {"id": 7, "updated_at": "2026-01-01T00:00:03Z", "was_cancelled": True},
            ],
        }
    )
    assert task.newest is not None
    assert task.newest.id == 5


def test_a_task_that_was_only_skipped_has_none_that_counts() -> None:
    assert Task.from_json({"id": 1, "annotations": [{"id": 7, "was_cancelled": True}]}).newest is None


@pytest.mark.parametrize(
    ("body", "who"),
    [
        ({"created_username": " dev@example.com, 1", "completed_by": 1}, "dev@example.com"),
        ({"created_username": "Ann Lee ann@example.com, 2"}, "Ann Lee ann@example.com"),
        ({"completed_by": {"id": 1, "first_name": "Ann", "last_name": "", "email": "ann@x.org"}}, "Ann ann@x.org"),
        ({"completed_by": 7}, "user 7"),
        ({"completed_by": None}, ""),
        (
            {"created_username": "Ann Lee ann@example.com, 2", "completed_by": 2, "updated_by": 2},
            "Ann Lee ann@example.com",
        ),
        # Datagen's own annotation that closes a review task, and a reviewer who updated it with a verdict
        ({"created_username": "datagen@example.com, 1", "completed_by": 1, "updated_by": 7}, "user 7"),
    ],
)
def test_who_submitted_or_updated_is_read_from_each_form(body: dict[str, object], who: str) -> None:
    assert Annotation.from_json({"id": 1, **body}).completed_by == who


def test_the_secret_of_a_webhook_is_not_in_its_repr() -> None:
    webhook = Webhook.from_json({"id": 1, "url": "http://x", "headers": {"X-Datagen-Secret": "s3cret"}})
    assert webhook.headers == {"X-Datagen-Secret": "s3cret"}
    assert "s3cret" not in repr(webhook)


@pytest.mark.parametrize(
    ("when", "read"),
    [
        ("2026-11-21T08:05:59.894041Z", "2026-11-21T08:05:59.894041Z"),
        ("2026-11-21T08:05:59Z", "2026-11-21T08:05:59.000000Z"),
        ("2026-11-21T10:05:59+02:00", "2026-11-21T08:05:59.000000Z"),
        (None, ""),
    ],
)
def test_times_are_text_whose_order_is_their_order(when: str | None, read: str) -> None:
    assert stamp(when) == read


VERDICT = {"id": "v", "from_name": "verdict", "type": "choices", "value": {"choices": ["good"]}}
REGION = {"id": "r", "from_name": "label", "type": "polygonlabels", "value": {"points": [[1.5, 2.25], [3, 4], [5, 6]]}}
CHANGED = {"created_username": "ann@example.com, 2", "completed_by": 2, "updated_by": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_what_datagen_wrote_in_a_persons_name_is_that_persons(order: int) -> None:
    result = marked([VERDICT, REGION], 2)[::order]
    assert Annotation.from_json({"id": 1, "result": result, **CHANGED}, lambda: 1).completed_by == "ann@example.com"


@pytest.mark.parametrize("writer", [lambda: 9, None])
def test_a_mark_that_another_account_computed_or_copied_is_no_persons_verdict(
    writer: Callable[[], int] | None,
) -> None:
    result = marked([VERDICT, REGION], 2)
    assert Annotation.from_json({"id": 1, "result": result, **CHANGED}, writer).completed_by == "user 1"


@pytest.mark.parametrize(
    "result",
    [
        [VERDICT],
        marked([VERDICT, REGION], 3),
        marked([VERDICT, REGION], 2)[:1],
        [*marked([VERDICT], 2), REGION],
        [{**marked([VERDICT], 2)[0], "value": {"choices": ["bad"]}}],
        [{"id": 7}, {"id": "datagen-"}],
        "no list",
        None,
    ],
)
def test_what_another_user_changed_is_that_users_though_a_mark_is_left(result: object) -> None:
    assert Annotation.from_json({"id": 1, "result": result, **CHANGED}, lambda: 1).completed_by == "user 1"
