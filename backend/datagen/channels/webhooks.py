"""Outgoing webhooks: JSON, signed as the Standard Webhooks specification says.

The signature is the HMAC-SHA256 of ``<webhook-id>.<webhook-timestamp>.<body>``. ``docs/notifications.md`` shows how a
receiver checks it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from datetime import UTC
from http import HTTPStatus

import httpx

from datagen.channels.target_policy import TargetPolicy
from datagen.domain.notification import Message
from datagen.errors import DeliveryFailed, DeliveryRefused, ReceiverSilent
from datagen.label_studio.api.transport import Wire, deadline

#: Prefix of a signing secret; base64 of the key follows.
_PREFIX = "whsec_"
#: Seconds for a connection, and for the whole exchange. The receiver should answer at once and work afterwards.
_CONNECT_SECONDS, EXCHANGE_SECONDS = 5.0, 10.0
#: Longest reason of a failed connection, characters.
_LONGEST_REASON = 200


def new_secret() -> str:
    """Return a new random signing secret."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of the header ``webhook-signature``.

    Args:
        secret: The signing secret, as ``new_secret`` makes it.
        message_id: The value of ``webhook-id``.
        timestamp: The value of ``webhook-timestamp``, in seconds since 1970.
        body: The body.
    """
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def body_of(message: Message) -> bytes:
    """Return the body of a webhook: the same bytes for every attempt."""
    at = message.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {"type": str(message.event), "timestamp": at, "data": message.data}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


class Webhooks:
    """Sends webhooks to hosts that a policy allows. Redirects are not followed, and response bodies are not read."""

    def __init__(self, policy: TargetPolicy) -> None:
        self._policy = policy

    def send(self, url: str, secret: str, message: Message) -> str:
        """Send one webhook, and return how the receiver answered.

        Raises:
            DeliveryFailed: the receiver did not accept it; a later attempt may succeed.
            ReceiverSilent: it did not answer.
            DeliveryRefused: the receiver wants no more webhooks.
        """
        body, timestamp = body_of(message), int(time.time())
        headers = {
            "content-type": "application/json",
            "user-agent": "Datagen",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, message.id, timestamp, body),
        }
        timeout = httpx.Timeout(EXCHANGE_SECONDS, connect=_CONNECT_SECONDS)
        try:
            with (
                deadline(EXCHANGE_SECONDS),
                httpx.Client(transport=Wire(self._policy), timeout=timeout) as http,
                http.stream("POST", url, content=body, headers=headers, follow_redirects=False) as response,
            ):
                status = response.status_code
        except httpx.TimeoutException:
            raise ReceiverSilent(f"the receiver did not answer within {EXCHANGE_SECONDS:.0f} s") from None
        except httpx.ConnectError as error:
            raise ReceiverSilent(f"no connection to the receiver: {error}"[:_LONGEST_REASON]) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ReceiverSilent(f"the receiver broke off the exchange ({type(error).__name__})") from None
        if status == HTTPStatus.GONE:
            raise DeliveryRefused("the receiver answered with 410: it wants no more webhooks")
        if not 200 <= status < 300:  # a redirect, too, because none is followed
            raise DeliveryFailed(f"the receiver answered with {status}")
        return f"answered with {status}"
