"""Words of notifications: a title, sentences, and an object for programs, from the facts of an event."""

from __future__ import annotations

import unicodedata
from typing import Any

from datagen.domain.notification import Facts, Message, NotificationEvent
from datagen.domain.wording import counted, sentence_case
from datagen.store.tables.notifications import DeliveryRow

#: Event → what happened to the batch, as the end of a sentence; and what a person can do now.
_WORDS = {
    NotificationEvent.ROUND_READY: (
        "is ready for review",
        "Judge its images, then answer the newest task of Decisions.",
    ),
    NotificationEvent.ROUND_FAILED: ("failed", "The newest task of Decisions says what can be done."),
    NotificationEvent.AUDIT_READY: (
        "is ready for review",
        "Judge its images, then answer the newest task of Decisions.",
    ),
    NotificationEvent.AUDIT_FAILED: ("failed", "The newest task of Decisions says what can be done."),
    NotificationEvent.RUN_DONE: ("is finished", "Its images are in Label Studio, and can be exported."),
    NotificationEvent.RUN_FAILED: (
        "failed",
        "Its finished images are kept; the newest task of Decisions says what can be done.",
    ),
    NotificationEvent.RUN_PAUSED: (
        "is paused by its spot checks",
        "Choose “go on” or “cancel” in the newest task of Decisions.",
    ),
    NotificationEvent.RUN_ALARM: (
        "is contradicted by its spot checks",
        "Its images are all rendered, so it is not paused; look at them before you use them.",
    ),
}
#: Characters that set the direction of the text after them.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NOUNS = {"round": "preview round", "audit": "audit", "run": "run"}


def message_of(delivery: DeliveryRow, own_url: str) -> Message:
    """Return the message of a delivery; every attempt has the same.

    Args:
        delivery: the delivery.
        own_url: the address at which browsers reach the web process; empty if the message has no link.
    """
    facts = Facts.from_json(delivery.facts)
    page = f"{own_url}{_path(facts)}" if own_url else ""
    title, sentences = _words(delivery.event, facts)
    return Message(
        id=delivery.message_id,
        event=delivery.event,
        at=delivery.happened_at,
        title=title,
        text="\n\n".join(part for part in (" ".join(sentences), page) if part) + "\n",
        data=_data(facts, page),
    )


def _words(event: NotificationEvent, facts: Facts) -> tuple[str, list[str]]:
    """Return the title and the sentences of a message."""
    study = _isolated(facts.study)
    if event is NotificationEvent.TEST:
        asked = f"This is a test of the notifications of {study}, asked for by {_isolated(facts.reason)}."
        return f"{study}: a test of its notifications", [asked, "Nothing has happened."]
    happened, remedy = _WORDS[event]
    if event is NotificationEvent.RUN_PAUSED and facts.by:
        happened = f"is paused by {_isolated(facts.by)}"
        remedy = "Shards that are being rendered are finished. Choose “go on” or “cancel” on its page, or in Decisions."
    unnamed = f"{_NOUNS.get(facts.kind, facts.kind)} {facts.number}"
    named = f" “{_isolated(facts.name)}”" if facts.name not in ("", unnamed) else ""
    batch = f"{unnamed}{named}"
    about = f"{sentence_case(batch)} of {study} (version {facts.version}, {counted(facts.images, 'image')}) {happened}."
    reason = [_sentence(facts.reason)] if facts.reason else []
    return f"{study}: {batch} {happened}", [about, *reason, remedy]


def _data(facts: Facts, page: str) -> dict[str, Any]:
    data: dict[str, Any] = {"study": {"id": facts.study_id, "name": facts.study}}
    if facts.kind:
        data["batch"] = {"kind": facts.kind, "number": facts.number, "name": facts.name, "images": facts.images}
        data["version"] = facts.version
    return {**data, "reason": facts.reason, "by": facts.by, "page": page}


def _path(facts: Facts) -> str:
    """Return the path of the page that shows what happened."""
    study = f"/studio/studies/{facts.study_id}"
    return f"{study}/{facts.kind}/{facts.number}" if facts.kind else f"{study}/notifications"


def _isolated(text: str) -> str:
    """Return untrusted text as one line that does not change the direction of the text around it (Unicode isolates).

    Joiners are kept, because letters and emoji of several parts need them.
    """
    return f"\u2068{' '.join(''.join(letter for letter in text if _is_harmless(letter)).split())}\u2069"


def _is_harmless(letter: str) -> bool:
    return letter.isspace() or (unicodedata.category(letter) not in ("Cc", "Cs") and letter not in _DIRECTIONS)


def _sentence(text: str) -> str:
    line = " ".join(text.split())
    return sentence_case(line if line.endswith((".", "!", "?")) else f"{line}.")
