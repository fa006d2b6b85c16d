"""Notifications: the events that people and programs are notified of, and the channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class NotificationEvent(StrEnum):
    """An event of a study. The values are the types of outgoing webhooks."""

    ROUND_READY = "round.ready"  #: a preview round is in Label Studio and waits for verdicts
    ROUND_FAILED = "round.failed"  #: a preview round could not be made
    AUDIT_READY = "audit.ready"  #: an audit is in Label Studio and waits for verdicts
    AUDIT_FAILED = "audit.failed"  #: an audit could not be made
    RUN_DONE = "run.done"  #: every image of a run is in Label Studio
    RUN_FAILED = "run.failed"  #: a run could not be finished
    RUN_PAUSED = "run.paused"  #: a run is paused, by its spot checks or by a person, and waits for a decision
    RUN_ALARM = "run.alarm"  #: spot checks contradict the approval of a run that is rendered already
    TEST = "test"  #: a person asked for a test


#: The events that a recipient can choose.
CHOOSABLE_EVENTS = tuple(event for event in NotificationEvent if event is not NotificationEvent.TEST)


class Channel(StrEnum):
    """A way to send notifications."""

    EMAIL = "e-mail"
    WEBHOOK = "webhook"  #: a signed request of Datagen's own
    SERVICE = "service"  #: a chat or push service that the library apprise supports


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of an event that its notifications state, as they were at the event."""

    study_id: int
    study: str
    #: kind of the batch that the event is about, as in the address of its page; empty for a test
    kind: str = ""
    number: int = 0
    #: name of a run; empty for the others
    name: str = ""
    version: int = 0
    images: int = 0
    #: why it failed, or the alarm; for a test: who asked for it
    reason: str = ""
    #: of a paused run: the person who paused it; empty if its spot checks paused it
    by: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the facts as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Facts:
        """Return the facts of ``to_json``."""
        return cls(**body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A notification as it is sent. Every attempt and every redelivery has the same id."""

    id: str
    event: NotificationEvent
    #: when the event happened
    at: datetime
    #: one line
    title: str
    #: plain text: the title's content as sentences, and the address of the page
    text: str
    #: the same for programs, as a JSON object
    data: Mapping[str, Any]
