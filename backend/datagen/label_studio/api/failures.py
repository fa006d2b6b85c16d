"""Failed requests and refused responses of Label Studio, as Datagen's errors.

Each message names the item and the fix. The client and the in-memory fake raise the same errors through this module."""

from __future__ import annotations

import re
from typing import Any

import httpx

from datagen.domain.foreign_text import read_json
from datagen.errors import (
    AddressRefused,
    LabelStudioError,
    LabelStudioFault,
    LabelStudioMissing,
    LabelStudioUnavailable,
)

#: Maximum number of characters of Label Studio's reason for a refusal that a message repeats.
_REASON_CHARS = 500
#: Phrases in Label Studio's reason if its SSRF protection refuses an address.
_SSRF_WORDS = ("local or private", "reserved network address")
#: HTML tags, which are removed: Label Studio's reasons contain links to its own pages.
_MARKUP = re.compile(r"</?[a-z][^<>]*>")


class RequestFailed(LabelStudioUnavailable):
    """Label Studio failed at one request with status 500, and may be up. Other 5xx come from a proxy in front of it."""

    how = "fails (500) at"


class TookTooLong(RequestFailed):
    """Label Studio accepted the connection, but did not answer this request in time."""

    how = "does not answer in time for"


def fault(failed: RequestFailed | type[RequestFailed], subject: str) -> LabelStudioFault:
    """The error for a request at which Label Studio fails although it is up; ``subject`` names the requested object."""
    return LabelStudioFault(f"Label Studio {failed.how} {subject}, though it is up.")


def unavailable(error: httpx.HTTPError, url: str) -> LabelStudioUnavailable:
    """The error for a request that got no response from the Label Studio at ``url``."""
    slow = isinstance(error, httpx.TimeoutException)
    how = "did not answer in time" if slow else "cannot be reached"
    # a ConnectError has a reason in words, because ``AddressPolicy`` may have refused the address
    why = f"{type(error).__name__}: {error}" if isinstance(error, httpx.ConnectError) else type(error).__name__
    kind = TookTooLong if isinstance(error, httpx.ReadTimeout) else LabelStudioUnavailable
    return kind(
        f"Label Studio at {url} {how} ({why}); see that it runs and that LABEL_STUDIO_URL "
        "is its address as seen from here (inside a container, localhost is the container itself)."
    )


def check(response: httpx.Response, subject: str, url: str) -> None:
    """Return if a response of the Label Studio at ``url`` has a 2xx status; ``subject`` names the requested object.

    Raises:
        LabelStudioUnavailable: Label Studio failed, or asked for a later retry.
        LabelStudioMissing: Label Studio does not have ``subject``.
        LabelStudioError: Label Studio refuses the request.
    """
    status = response.status_code
    if response.is_success:
        return
    reason = _reason(response)
    if "resolve hostname" in reason:
        raise AddressRefused(
            f"Label Studio finds no machine of the name in the address of {subject} ({status}): {reason} Set "
            "DATAGEN_PUBLIC_URL to an address that Label Studio reaches, as seen from its machine or container."
        )
    if status == httpx.codes.INTERNAL_SERVER_ERROR:
        raise RequestFailed(f"Label Studio could not serve {subject} ({status}): {reason}")
    if status >= 500 or status in (408, 429):
        raise LabelStudioUnavailable(f"Label Studio could not serve {subject} ({status}): {reason}")
    if status == 404:
        raise LabelStudioMissing(f"Label Studio does not have {subject}: {reason}")
    if status == 401:
        raise LabelStudioError(
            f"Label Studio refuses the token for {subject} (401): {reason} Set LABEL_STUDIO_API_KEY to a token of a "
            "user of this Label Studio."
        )
    if status == 400 and "Select a valid choice" in reason:  # a filter's answer for a deleted project
        raise LabelStudioMissing(f"Label Studio at {url} does not have {subject}: {reason}")
    if status == 403 and any(words in reason for words in _SSRF_WORDS):
        raise AddressRefused(
            f"Label Studio's SSRF protection refuses the address of {subject} (403): {reason} On the Label "
            "Studio server set SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false, or, tighter, "
            "USE_DEFAULT_BANNED_SUBNETS=false with USER_ADDITIONAL_BANNED_SUBNETS; or give an address that is "
            "not private (DATAGEN_PUBLIC_URL)."
        )
    if status == 403:
        raise LabelStudioError(
            f"Label Studio does not let this token's user do that with {subject} (403): {reason} Use the token of "
            "a user who may."
        )
    if response.is_redirect:
        raise LabelStudioError(
            f"Label Studio sends {subject} elsewhere ({status}); set LABEL_STUDIO_URL to the address "
            "it is served at (scheme and port included)."
        )
    raise LabelStudioError(f"Label Studio refuses {subject} ({status}): {reason}")


def _reason(response: httpx.Response) -> str:
    """Label Studio's reason for a refusal, in one line and without text of the request."""
    try:
        body = read_json(response.content)
    except ValueError:
        return "no reason given."
    if not isinstance(body, dict):
        return "no reason given."
    reason = body.get("validation_errors") or body.get("detail") or "no reason given"
    if isinstance(reason, dict):
        reason = "; ".join(f"{field}: {_flat(why)}" for field, why in reason.items())
    text = " ".join(_MARKUP.sub("", _flat(reason)).split())[:_REASON_CHARS].strip()
    return text if text.endswith(".") else text + "."


def _flat(why: Any) -> str:
    return ", ".join(str(part) for part in why) if isinstance(why, list) else str(why)
