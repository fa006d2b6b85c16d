"""Authentication with both kinds of Label Studio token; a request to the server shows which kind a token is.

A *legacy token* goes into ``Authorization: Token …`` unchanged. A *personal access token* is a JWT refresh token: it is
exchanged for an access token that is valid for five minutes, and the access token goes into ``Authorization: Bearer
…``. Errors and log lines never contain a token."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Generator
from enum import StrEnum

import httpx

from datagen.errors import LabelStudioError

#: Seconds before its expiry at which an access token is renewed, so that it does not expire during a request.
_EARLY_S = 30.0
#: Assumed lifetime in seconds of an access token that names no expiry time.
_ASSUMED_LIFE_S = 240.0

_REFRESH = "/api/token/refresh"
_WHOAMI = "/api/current-user/whoami"


class TokenKind(StrEnum):
    """Kind of a token. The value is Label Studio's name for the kind."""

    LEGACY = "legacy token"
    PERSONAL = "personal access token"


#: Messages for a token that Label Studio does not accept, by the token's kind.
REFUSED_TOKEN = {
    TokenKind.LEGACY: (
        "Label Studio does not know the token (401). Copy it again from Account & Settings of the Label Studio at "
        "LABEL_STUDIO_URL, whole and without “Token” before it, and set LABEL_STUDIO_API_KEY."
    ),
    TokenKind.PERSONAL: (
        "Label Studio refuses the personal access token: it was revoked, belongs to another Label Studio, or personal "
        "access tokens are disabled for the organization. Make a new one (Account & Settings, Personal Access Token) "
        "and set LABEL_STUDIO_API_KEY."
    ),
}


class TokenAuth(httpx.Auth):
    """httpx authentication that detects the kind of its token once, and renews access tokens before they expire.

    It is thread-safe: a lock is held during detection and renewal.

    Raises:
        LabelStudioError: The token is empty or contains invalid characters.
    """

    def __init__(self, api_key: str, base_url: str) -> None:
        self._api_key = api_key.strip()
        if not (self._api_key.isascii() and self._api_key.isprintable() and self._api_key):
            raise LabelStudioError(
                "the Label Studio token is empty or holds characters that no token has; copy it again from Account & "
                "Settings and set LABEL_STUDIO_API_KEY."
            )
        self._base_url = base_url
        self._lock = threading.RLock()
        self._kind: TokenKind | None = None
        self._access = ""
        self._good_until = 0.0

    @property
    def kind(self) -> TokenKind | None:
        """The kind of token; None before the first request."""
        return self._kind

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Authenticate one request; httpx calls this method."""
        with self._lock:
            if self._kind is None:
                yield from self._find_kind()
            elif self._kind is TokenKind.PERSONAL and time.monotonic() >= self._good_until:
                yield from self._renew()
            used = self._header()
        request.headers["Authorization"] = used
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED and self._kind is TokenKind.PERSONAL:
            # expired early (the server's clock, a restart with another key): renew once, and retry once
            with self._lock:
                if self._header() == used:
                    yield from self._renew()
                request.headers["Authorization"] = self._header()
            yield request

    def _header(self) -> str:
        return f"Token {self._api_key}" if self._kind is TokenKind.LEGACY else f"Bearer {self._access}"

    def _find_kind(self) -> Generator[httpx.Request, httpx.Response, None]:
        """Determine the kind of the token: use it as the more likely kind first, then as the other kind.

        The server accepts or refuses each attempt.
        """
        if _claims(self._api_key):
            yield from self._renew()
            self._kind = TokenKind.PERSONAL
            return
        headers = {"Authorization": f"Token {self._api_key}"}
        response = yield httpx.Request("GET", self._base_url + _WHOAMI, headers=headers)
        response.read()
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise LabelStudioError(_why_unauthorized(response))
        if response.is_success:
            self._kind = TokenKind.LEGACY
        else:
            raise httpx.HTTPStatusError("whoami", request=response.request, response=response)

    def _renew(self) -> Generator[httpx.Request, httpx.Response, None]:
        request = httpx.Request("POST", self._base_url + _REFRESH, json={"refresh": self._api_key})
        response = yield request
        response.read()
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.BAD_REQUEST):
            raise LabelStudioError(_why_refused(self._api_key))
        if not response.is_success:
            raise httpx.HTTPStatusError("refresh", request=request, response=response)
        self._access = str(response.json()["access"])
        issued, ends = _lifetime(self._access)
        self._good_until = time.monotonic() + max(ends - issued - _EARLY_S, 1.0)


def _why_unauthorized(response: httpx.Response) -> str:
    if "legacy token" in response.text:
        return (
            "Label Studio refuses the token: legacy tokens are disabled for its organization. Use a personal access "
            "token (Account & Settings, Personal Access Token) as LABEL_STUDIO_API_KEY, or enable legacy tokens "
            "(Organization, API Tokens Settings)."
        )
    return REFUSED_TOKEN[TokenKind.LEGACY]


def _why_refused(token: str) -> str:
    claims = _claims(token)
    if claims.get("token_type") == "access":
        return (
            "the token is a short-lived access token; LABEL_STUDIO_API_KEY needs the personal access token itself "
            "(Account & Settings, Personal Access Token)."
        )
    if float(claims.get("exp", time.time() + 1)) < time.time():
        return (
            "the personal access token has expired. Make a new one in Label Studio (Account & Settings, Personal "
            "Access Token) and set LABEL_STUDIO_API_KEY."
        )
    return REFUSED_TOKEN[TokenKind.PERSONAL]


def _claims(token: str) -> dict[str, str | float]:
    """The claims of a JWT, which are not verified here; an empty mapping if the token is not a JWT.

    The server verifies them.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        body = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _lifetime(access: str) -> tuple[float, float]:
    """The times at which an access token was issued and expires, in seconds since the epoch, by the server's clock."""
    claims = _claims(access)
    issued = float(claims.get("iat", 0.0))
    return issued, float(claims.get("exp", issued + _ASSUMED_LIFE_S))
