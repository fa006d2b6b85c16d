"""Channels that record what is sent, and answer as a test says; for unit tests of notifications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from datagen.channels.channels import Channels
from datagen.channels.chat_services import ChatServices
from datagen.channels.mail import MailServer
from datagen.domain.notification import Channel, Message
from fake_studio import FakeStudio

MAIL = MailServer(host="mail.test", port=25, is_tls=False, user="", password="", sender="datagen@example.org")
HOOK = "https://hooks.example.org/secret-path?key=secret-key"


@dataclass(frozen=True)
class Sent:
    channel: Channel
    address: str
    message: Message


@dataclass
class RecordedChannels(Channels):
    """Channels without a network; ``answer`` may raise."""

    answer: Callable[[Sent], str] = lambda _sent: "answered with 204"
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(mail=MAIL, services=ChatServices(["slack"]))

    def send(self, channel: Channel, address: str, secret: str, message: Message) -> str:
        self.sent.append(Sent(channel, address, message))
        return self.answer(self.sent[-1])


def record_notifications(studio: FakeStudio) -> RecordedChannels:
    """Make a studio send its notifications to recorded channels."""
    channels = RecordedChannels()
    studio.services = replace(studio.services, channels=channels, own_url="http://datagen.test")
    return channels
