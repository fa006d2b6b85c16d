"""Notifications by e-mail, through the installation's mail server (SMTP)."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from datagen.domain.notification import Message
from datagen.errors import DeliveryFailed, DeliveryRefused, ReceiverSilent, SettingsProblem

#: Longest e-mail address, characters (RFC 5321).
LONGEST_EMAIL = 254
#: One address without a name, a comment or a quoted part; its domain has a dot, or is this machine.
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+|localhost)")
#: Seconds for each step of the exchange with the mail server.
_STEP_SECONDS = 10.0
_PORTS = {"smtp": 587, "smtps": 465}
_REMEDY = "give smtp://USER:PASSWORD@HOST:PORT (STARTTLS), or smtps://…, and set DATAGEN_MAIL_FROM"


def is_email(text: str) -> bool:
    """Return whether a text is one e-mail address and nothing else."""
    return len(text) <= LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """A mail server, and the sender of the mails."""

    host: str
    port: int
    #: whether the connection is encrypted from its beginning; otherwise by STARTTLS, if the server offers it
    is_tls: bool
    user: str
    password: str = field(repr=False)
    sender: str

    @classmethod
    def of(cls, url: str, sender: str) -> MailServer:
        """Return the mail server of the settings.

        Raises:
            SettingsProblem: the URL or the sender is wrong; the message does not repeat the URL, which has a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise SettingsProblem(f"DATAGEN_SMTP_URL is no address of a mail server: {_REMEDY}") from None
        if parts.scheme not in _PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
            raise SettingsProblem(f"DATAGEN_SMTP_URL is no address of a mail server: {_REMEDY}")
        if not is_email(sender):
            raise SettingsProblem(f"DATAGEN_MAIL_FROM is no e-mail address: {_REMEDY}")
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            is_tls=parts.scheme == "smtps",
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            sender=sender,
        )

    def send(self, to: str, message: Message) -> str:
        """Send a notification to one address, and return what the server answered.

        Raises:
            DeliveryFailed: the server did not accept the mail; a later attempt may succeed.
            DeliveryRefused: the server does not accept the recipient.
            ReceiverSilent: the server did not answer.
        """
        mail = self._mail(to, message)
        try:
            with self._connected() as server:
                server.send_message(mail, self.sender, [to])
        except smtplib.SMTPRecipientsRefused as refusal:
            code = refusal.recipients[to][0]
            kind = DeliveryRefused if code >= 500 else DeliveryFailed
            raise kind(f"the mail server does not accept the recipient (SMTP {code})") from None
        except smtplib.SMTPResponseException as refusal:
            raise DeliveryFailed(f"the mail server refused the mail (SMTP {refusal.smtp_code})") from None
        except TimeoutError:
            raise ReceiverSilent(f"the mail server did not answer within {_STEP_SECONDS:.0f} s") from None
        except (OSError, smtplib.SMTPException) as error:
            raise ReceiverSilent(f"the mail server cannot be used ({type(error).__name__})") from None
        return "accepted by the mail server"

    def _mail(self, to: str, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.sender, to, message.title
        mail["Date"] = format_datetime(message.at)
        # the same for every attempt, so that mail programs can recognise a repetition
        mail["Message-ID"] = f"<{message.id}@{self.sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.text)
        return mail

    def _connected(self) -> smtplib.SMTP:
        """Return a connection to the server, encrypted if the server offers it, and logged in if there is a user.

        Raises:
            DeliveryFailed: the password would be sent to another machine without encryption.
        """
        name, context = socket.gethostname(), ssl.create_default_context()
        if self.is_tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, name, timeout=_STEP_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, name, timeout=_STEP_SECONDS)
        try:
            self._prepare(server, context)
        except BaseException:
            server.close()
            raise
        return server

    def _prepare(self, server: smtplib.SMTP, context: ssl.SSLContext) -> None:
        server.ehlo()
        if not self.is_tls and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        elif not self.is_tls and self.user and not _is_this_machine(self.host):
            raise DeliveryFailed("the mail server offers no encryption, so the password is not sent to it")
        if self.user:
            server.login(self.user, self.password)


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
