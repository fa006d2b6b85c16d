"""Accounts of Label Studio: checks a person's credentials, and whether an account still exists.

A token or a password is used for the check and for nothing else: neither is stored, logged or repeated in an error.
Later checks use the installation's own token.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any, Protocol

import httpx

from datagen.errors import LabelStudioError, LabelStudioMissing, LabelStudioUnavailable, Refused
from datagen.label_studio.api import failures
from datagen.label_studio.api.http import Connection
from datagen.label_studio.api.transport import AddressPolicy, Wire, deadline

#: Time limit of one check, which takes up to six requests, seconds.
CHECK_SECONDS = 10.0
#: Maximum number of projects whose visibility is checked, and of those in one request.
MAX_PROJECTS, _PROJECTS_A_REQUEST = 2_000, 100
#: Label Studio's name for the edition in which every member of an organization sees all of its projects.
_COMMUNITY = "Community"
#: The e-mail address that Label Studio gives for a removed member of the organization of whoever asks.
_REMOVED = "Deleted"

_TIMEOUT = httpx.Timeout(CHECK_SECONDS, connect=5.0)
_WHOAMI = "/api/current-user/whoami"
_LOG_IN = "/user/login/"

REFUSED_CREDENTIAL = (
    "Label Studio does not accept this token. Copy it again from Account & Settings of your Label Studio, whole, and "
    "look whether tokens of its kind are enabled there."
)
LOG_IN_REFUSED = "Label Studio does not accept this e-mail address with this password. Correct them, or use a token."
NO_PASSWORDS = (
    "Label Studio does not take passwords from here. Log in with a token from Account & Settings of your Label Studio."
)
NO_MEMBER = (
    "Your account is not a member of the Label Studio organization whose projects are shown here. Ask an administrator "
    "of your Label Studio to add it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of Label Studio, and the projects that it may see."""

    id: int
    email: str
    #: ids of the visible projects, of those that were asked for; None: every project of the installation
    project_ids: frozenset[int] | None


class AccountDirectory(Protocol):
    """The requests to Label Studio that log-ins need. Every method may raise LabelStudioUnavailable."""

    def by_token(self, token: str, project_ids: Sequence[int]) -> Account:
        """Return the account of a token, with those of ``project_ids`` that it may see.

        Raises:
            Refused: Label Studio does not accept the token, or the account is not a member.
        """
        ...

    def by_password(self, email: str, password: str, project_ids: Sequence[int]) -> Account:
        """Return the account of an e-mail address and its password, with those of ``project_ids`` that it may see.

        Raises:
            Refused: Label Studio does not accept them, or the account is not a member.
        """
        ...

    def is_member(self, account: Account) -> bool:
        """Return whether the account is still a member of the organization of the installation's own account."""
        ...


class Accounts:
    """The accounts of the Label Studio at ``url``; ``own_token`` returns the installation's own token.

    It is thread-safe. The own token is read at its first use, because the web process runs without one, too.
    """

    def __init__(self, url: str, own_token: Callable[[], str], *, transport: httpx.BaseTransport | None = None) -> None:
        self._url, self._own_token, self._transport = url, own_token, transport
        self._policy = AddressPolicy()
        self._lock = threading.Lock()
        self._own: Connection | None = None

    def by_token(self, token: str, project_ids: Sequence[int]) -> Account:
        """See ``AccountDirectory``."""
        with deadline(CHECK_SECONDS), closing(self._connected(token)) as connection:
            try:
                who = connection.get(_WHOAMI, "the token's account")
            except LabelStudioUnavailable:
                raise
            except LabelStudioError:  # its sentence is about the installation's own token
                raise Refused(REFUSED_CREDENTIAL) from None
            return self._account(who, connection.get, project_ids)

    def by_password(self, email: str, password: str, project_ids: Sequence[int]) -> Account:
        """See ``AccountDirectory``. It fills in Label Studio's log-in form, as a browser does."""
        with (
            deadline(CHECK_SECONDS),
            httpx.Client(base_url=self._url, timeout=_TIMEOUT, transport=self._transport or Wire(self._policy)) as http,
        ):

            def send(method: str, path: str, cookie: str, **options: Any) -> httpx.Response:
                try:
                    http.cookies.clear()  # the header has the one cookie that is needed, also one that is “Secure”
                    headers = {"Cookie": cookie, "Referer": f"{self._url}{_LOG_IN}"}
                    return http.request(method, path, headers=headers, follow_redirects=False, **options)
                except httpx.HTTPError as error:
                    raise failures.unavailable(error, self._url) from error

            form = send("GET", _LOG_IN, "")
            failures.check(form, "the log-in page", self._url)
            csrf = _cookie(form, "csrftoken")
            answer = send(
                "POST",
                _LOG_IN,
                f"csrftoken={csrf}",
                data={"email": email, "password": password, "csrfmiddlewaretoken": csrf},
            )
            if answer.status_code == httpx.codes.FORBIDDEN:
                raise Refused(NO_PASSWORDS)
            session = _cookie(answer, "sessionid")
            if not (answer.is_redirect and session):
                if answer.is_server_error:
                    failures.check(answer, "the log-in page", self._url)
                raise Refused(LOG_IN_REFUSED)

            def get(path: str, subject: str, params: dict[str, Any] | None = None) -> Any:
                response = send("GET", path, f"sessionid={session}", params=params)
                failures.check(response, subject, self._url)
                return response.json()

            return self._account(get(_WHOAMI, "your account"), get, project_ids)

    def is_member(self, account: Account) -> bool:
        """See ``AccountDirectory``."""
        with deadline(CHECK_SECONDS):
            return self._is_member(account.id, account.email)

    def close(self) -> None:
        """Close the sockets."""
        with self._lock:
            if self._own is not None:
                self._own.close()

    def _account(self, who: dict[str, Any], get: Callable[..., Any], project_ids: Sequence[int]) -> Account:
        """Return the account that Label Studio describes as ``who``.

        In the community edition, the organization alone decides what is visible. Label Studio accepts the password of a
        removed member, makes the organization the active one again, and lists its projects. So membership is checked.
        """
        visible: frozenset[int] | None = None
        account_id, email = int(who["id"]), str(who["email"])
        own = self._own_connection().get(_WHOAMI, "the installation's own account")
        same_organization = who.get("active_organization") == own.get("active_organization") is not None
        is_community = get("/api/version", "the version").get("edition") == _COMMUNITY
        if is_community and not self._is_member(account_id, email):
            raise Refused(NO_MEMBER)
        if not (is_community and same_organization):
            visible = frozenset(_visible(get, project_ids[:MAX_PROJECTS]))
        return Account(id=account_id, email=email, project_ids=visible)

    def _is_member(self, account_id: int, email: str) -> bool:
        """Return whether the installation's own account sees this account as a member; a removed one has no address."""
        try:
            body = self._own_connection().get(f"/api/users/{account_id}/", "the account")
        except LabelStudioMissing:
            return False
        return email != _REMOVED and str(body.get("email", "")).casefold() == email.casefold()

    def _connected(self, token: str) -> Connection:
        """Return a connection with a person's token."""
        try:
            return self._connect(token)
        except LabelStudioError:  # empty, or characters that no token has
            raise Refused(REFUSED_CREDENTIAL) from None

    def _connect(self, token: str) -> Connection:
        return Connection(
            self._url, token, transport=self._transport, pin=self._policy, timeout=_TIMEOUT, read_attempts=1
        )

    def _own_connection(self) -> Connection:
        with self._lock:
            if self._own is None:
                self._own = self._connect(self._own_token())
            return self._own


def _visible(get: Callable[..., Any], project_ids: Sequence[int]) -> set[int]:
    """Return those of the projects that Label Studio lists for the account whose requests ``get`` sends."""
    visible: set[int] = set()
    for start in range(0, len(project_ids), _PROJECTS_A_REQUEST):
        ids = ",".join(map(str, project_ids[start : start + _PROJECTS_A_REQUEST]))
        params = {"ids": ids, "include": "id", "page_size": _PROJECTS_A_REQUEST}
        page = get("/api/projects/counts/", "the projects", params)
        visible |= {int(body["id"]) for body in page["results"]}
    return visible


def _cookie(response: httpx.Response, name: str) -> str:
    """Return the value of a cookie that a response sets; empty if it sets none."""
    for line in response.headers.get_list("set-cookie"):
        try:
            cookies = SimpleCookie(line)
        except CookieError:
            continue  # a cookie of a proxy, with a name that Python refuses
        if name in cookies:
            return cookies[name].value
    return ""
