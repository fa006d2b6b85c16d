"""The documented check of a webhook's signature accepts what Datagen sends and refuses everything else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from datagen.channels.webhooks import body_of, new_secret, signature
from datagen.domain.notification import CHOOSABLE_EVENTS, Message, NotificationEvent
from stage.layout import ROOT

DOCUMENT = (ROOT / "docs" / "notifications.md").read_text(encoding="utf-8")
MESSAGE = Message(
    id="msg_1",
    event=NotificationEvent.RUN_DONE,
    at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    title="",
    text="",
    data={"study": {"id": 1, "name": "خدش 🦠"}},
)
SECRET, BODY = new_secret(), body_of(MESSAGE)


@pytest.fixture
def check() -> Callable[[str, dict[str, str], bytes], bool]:
    """The function in the document."""
    [source] = re.findall(r"```python\n(.*?)```", DOCUMENT, re.S)
    assert len(source.strip().splitlines()) <= 11
    names: dict[str, Any] = {}
    exec(source, names)
    return names["is_from_datagen"]  # type: ignore[no-any-return]


def headers(age: int = 0) -> dict[str, str]:
    sent_at = int(time.time()) - age
    signed = signature(SECRET, MESSAGE.id, sent_at, BODY)
    return {"webhook-id": MESSAGE.id, "webhook-timestamp": str(sent_at), "webhook-signature": signed}


def test_documented_check_accepts_what_was_signed(check: Callable[..., bool]) -> None:
    assert check(SECRET, headers(), BODY)
    both = headers()
    both["webhook-signature"] = f"v1,other {both['webhook-signature']}"
    assert check(SECRET, both, BODY), "one of several signatures is enough"


@pytest.mark.parametrize("forged", ["body", "id", "time", "secret", "old"])
def test_documented_check_refuses_what_was_forged(check: Callable[..., bool], forged: str) -> None:
    given = headers(age=301 if forged == "old" else 0)
    if forged == "id":
        given["webhook-id"] = "msg_2"
    if forged == "time":
        given["webhook-timestamp"] = str(int(given["webhook-timestamp"]) + 1)
    secret = new_secret() if forged == "secret" else SECRET
    assert not check(secret, given, BODY + b" " if forged == "body" else BODY)


def test_document_lists_every_event_and_a_body_as_it_is_sent() -> None:
    assert set(re.findall(r"`((?:round|audit|run)\.\w+)`", DOCUMENT)) == {*CHOOSABLE_EVENTS}
    [example] = re.findall(r"```json\n(.*?)```", DOCUMENT, re.S)
    assert json.loads(example).keys() == json.loads(BODY).keys()
