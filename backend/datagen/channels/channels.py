"""All channels together: check the address of a recipient, and send a notification to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit

from datagen.channels.chat_services import ChatServices
from datagen.channels.mail import MailServer, is_email
from datagen.channels.target_policy import AllowedHosts, TargetPolicy
from datagen.channels.webhooks import Webhooks
from datagen.domain.notification import Channel, Message
from datagen.errors import DeliveryFailed, Refused

#: Longest address, characters.
LONGEST_ADDRESS = 1_000
_EXAMPLES = "give an e-mail address, https://… for a webhook, or an address of a service such as slack://…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A checked address of a recipient."""

    channel: Channel
    #: the address itself; for webhooks and services it is a secret
    value: str = field(repr=False)
    #: the address without what is secret, for people
    shown: str


class Channels:
    """The channels of an installation.

    Args:
        mail: the mail server; None if no mails are sent.
        hosts: the hosts that webhooks and self-hosted services may be sent to; see ``TargetPolicy``.
        services: the services; None: none is used.
        policy: the policy of addresses; None: that of the hosts.
    """

    def __init__(
        self,
        mail: MailServer | None = None,
        hosts: AllowedHosts | None = None,
        services: ChatServices | None = None,
        policy: TargetPolicy | None = None,
    ) -> None:
        allowed = hosts if hosts is not None else AllowedHosts()
        self._mail = mail
        self._policy = policy or TargetPolicy(allowed)
        self._webhooks = Webhooks(self._policy)
        self._services = services or ChatServices(hosts=allowed)

    def address_of(self, text: str) -> Address:
        """Return the address that a person gave.

        Raises:
            Refused: the address cannot be used; the message does not repeat its secret parts.
        """
        given = text.strip()
        if len(given) > LONGEST_ADDRESS:
            raise Refused(f"the address has more than {LONGEST_ADDRESS:,} characters; {_EXAMPLES}")
        if not given.isascii() or not given.isprintable() or " " in given or not given:
            raise Refused(f"the address is empty, or has spaces or letters that addresses have not; {_EXAMPLES}")
        if "://" not in given:
            return self._email_of(given.removeprefix("mailto:"))
        try:
            parts = urlsplit(given)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise Refused(f"this is no complete address; {_EXAMPLES}") from None
        if parts.scheme not in ("http", "https") or self._services.is_copied_address(host):
            return self._service_of(given)
        return self._webhook_of(parts, host)

    def send(self, channel: Channel, address: str, secret: str, message: Message) -> str:
        """Send a notification, and return how it was accepted, as a clause.

        Args:
            channel: The channel.
            address: The value of the recipient's address.
            secret: Of a webhook: its signing secret.
            message: The notification.

        Raises:
            DeliveryFailed: it was not accepted; a later attempt may succeed.
            DeliveryRefused: it will never be accepted.
        """
        match channel:
            case Channel.WEBHOOK:
                return self._webhooks.send(address, secret, message)
            case Channel.SERVICE:
                return self._services.send(address, message)
            case Channel.EMAIL:
                if self._mail is None:
                    raise DeliveryFailed("no mail server is set; an administrator can set DATAGEN_SMTP_URL")
                return self._mail.send(address, message)

    def _email_of(self, given: str) -> Address:
        if not is_email(given):
            raise Refused(f"this is no e-mail address; {_EXAMPLES}")
        if self._mail is None:
            raise Refused(
                "mails cannot be sent, because no mail server is set; an administrator can set DATAGEN_SMTP_URL"
            )
        name, _, domain = given.rpartition("@")
        return Address(channel=Channel.EMAIL, value=given, shown=f"{name[:1]}…@{domain}")

    def _service_of(self, given: str) -> Address:
        name = self._services.name_of(given)
        return Address(channel=Channel.SERVICE, value=given, shown=name)

    def _webhook_of(self, parts: SplitResult, host: str) -> Address:
        if not host:
            raise Refused(f"the address names no host; {_EXAMPLES}")
        if problem := self._policy.problem_of(host):
            raise Refused(f"nothing is sent there: {problem}")
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"
        return Address(channel=Channel.WEBHOOK, value=parts._replace(fragment="").geturl(), shown=shown)
