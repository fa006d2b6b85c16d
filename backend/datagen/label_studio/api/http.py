"""HTTP connection to one Label Studio server: sends requests, parses JSON responses, and raises failures as our errors.

It has no knowledge of projects or tasks; ``client`` has. Bodies and tokens are never logged. An error repeats only
Label Studio's own reason."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import httpx
import stamina

from datagen.domain.foreign_text import read_json
from datagen.errors import LabelStudioError, LabelStudioUnavailable
from datagen.label_studio.api import failures
from datagen.label_studio.api.auth import TokenAuth, TokenKind
from datagen.label_studio.api.failures import RequestFailed, TookTooLong
from datagen.label_studio.api.transport import AddressPolicy, Wire

#: Time limits of a request in seconds. A connection is made quickly or not at all. An import of 1,000 tasks with
#: predictions takes a few seconds on a slow server.
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
#: Maximum number of attempts of a read. They cover a restart or a locked SQLite database, which take moments. The
#: outbox handles longer outages.
READ_ATTEMPTS = 3
#: Time limit of the health check in seconds; a running server answers at once.
_HEALTH_TIMEOUT = httpx.Timeout(5.0)
#: A path whose answer needs the database; Label Studio answers /health without it.
_WHOAMI = "/api/current-user/whoami"
#: Seconds after which a failed read is not retried; otherwise a server that hangs could make a job exceed its time
#: limit.
READ_SECONDS = 30.0
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Connection:
    """Authenticated connection to the server at ``url``. It is thread-safe, and both processes can use it after a fork.

    Raises:
        LabelStudioError: ``url`` is not a web address, or the token is invalid.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        pin: AddressPolicy | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        read_attempts: int = READ_ATTEMPTS,
    ) -> None:
        if origin(url) is None:
            raise LabelStudioError(f"{url!r} is no address of a web server: set LABEL_STUDIO_URL to http://HOST:PORT.")
        self.url = url.rstrip("/")
        self._transport = transport
        self._pin = pin or AddressPolicy()
        self._timeout = timeout
        self._read_attempts = read_attempts
        self._auth = TokenAuth(api_key, self.url)
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._pid = 0
        self._user_id: int | None = None

    @property
    def token_kind(self) -> TokenKind | None:
        """The kind of token; None before the first request."""
        return self._auth.kind

    @property
    def http(self) -> httpx.Client:
        """The HTTP client of this process. After a fork it is a new one, because sockets must not be shared."""
        with self._lock:
            if self._http is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._http = httpx.Client(
                    base_url=self.url,
                    auth=self._auth,
                    timeout=self._timeout,
                    transport=self._transport or Wire(self._pin),
                    follow_redirects=False,
                    # a session cookie would take precedence over the token, and every POST would then lack a CSRF token
                    cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
                )
            return self._http

    def user_id(self) -> int:
        """The id of the token's user. Label Studio is asked once."""
        if self._user_id is None:
            self._user_id = int(self.get(_WHOAMI, "the token's user")["id"])
        return self._user_id

    def close(self) -> None:
        """Close the sockets; the next request opens new ones."""
        with self._lock:
            if self._http is not None and self._pid == os.getpid():
                self._http.close()
            self._http = None

    def get(self, path: str, subject: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON at ``path``; ``subject`` names the requested object in errors.

        A failed read is retried if that may help.

        Raises:
            LabelStudioUnavailable: Label Studio did not answer, or asked for a later retry.
            LabelStudioFault: Label Studio fails at this request, or takes too long for it, though it is up.
            LabelStudioMissing: Label Studio does not have the object.
            LabelStudioError: Label Studio refuses the request.
        """
        try:
            for attempt in stamina.retry_context(
                on=_is_retryable, attempts=self._read_attempts, wait_initial=0.1, wait_max=2.0, timeout=READ_SECONDS
            ):
                with attempt:
                    return self.json(self.send("GET", path, subject, params=params))
        except RequestFailed as failed:
            if not self.is_up():
                raise
            raise failures.fault(failed, subject) from failed
        raise AssertionError("unreachable: the last attempt returns or raises")

    def get_once(self, path: str, subject: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON at ``path``, requested once; None if Label Studio answers 500.

        Other failures raise as in ``get``.
        """
        try:
            return self.json(self.send("GET", path, subject, params=params))
        except RequestFailed as failed:
            if isinstance(failed, TookTooLong):
                raise
            return None

    def is_up(self) -> bool:
        """Whether Label Studio answers its health check and a request that needs its database."""
        try:
            return all(self.http.get(path, timeout=_HEALTH_TIMEOUT).is_success for path in ("/health", _WHOAMI))
        except httpx.HTTPError:
            return False

    def write(
        self, method: str, path: str, subject: str, body: Any = None, params: Mapping[str, Any] | None = None
    ) -> Any:
        """Send JSON once; return the JSON of the response, or None if it is empty.

        Raise as ``get`` does; a failed request is not retried.
        """
        return self.json(self.send(method, path, subject, params=params, json=body))

    def send(self, method: str, path: str, subject: str, **request: Any) -> httpx.Response:
        """Send one request and return the complete response; raise as ``get`` does."""
        try:
            response = self.http.request(method, path, **request)
        except httpx.HTTPStatusError as error:  # a request of ``TokenAuth`` failed
            response = error.response
        except httpx.HTTPError as error:
            raise failures.unavailable(error, self.url) from error
        failures.check(response, subject, self.url)
        return response

    def json(self, response: httpx.Response) -> Any:
        """The JSON of a response, with sanitized text (see ``foreign_text``); None for an empty response.

        Raises:
            LabelStudioError: The response is not JSON.
        """
        if not response.content:
            return None
        try:
            return read_json(response.content)
        except ValueError as error:
            raise LabelStudioError(
                "what answers at LABEL_STUDIO_URL does not speak Label Studio's API (no JSON); check LABEL_STUDIO_URL."
            ) from error


def _is_retryable(fault: Exception) -> bool:
    """Whether a failed read may be retried. A read that used its whole time limit is not retried."""
    return isinstance(fault, LabelStudioUnavailable) and not isinstance(fault, TookTooLong)


def origin(url: str) -> tuple[str, str, int | None] | None:
    """The scheme, host and port of a web address; None if the text is not a web address, or contains a log-in."""
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or parts.username is not None or not parts.hostname or "\\" in url:
        return None
    return parts.scheme, parts.hostname, port
