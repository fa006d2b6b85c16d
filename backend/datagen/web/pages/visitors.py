"""The visitor of a page: the session of a request, its cookies, log-in and log-out."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Request, Response, g
from flask import request as current_request

from datagen.label_studio.api.accounts import Account, AccountDirectory
from datagen.web.pages.forms import ROOT, FormTokens
from datagen.web.pages.notices import Notice, Notices
from datagen.web.pages.sessions import Session, Sessions
from datagen.web.wrong_credentials import network_of
from datagen.workflow.study_pages.access import Visible

#: Names of the cookies: the session, and what the forms of a browser without one belong to.
SESSION_COOKIE, FORM_COOKIE = "datagen_session", "datagen_form"
#: Longest cookie, e-mail address, token and password that are looked at, characters.
_LONGEST_COOKIE = 100
LONGEST_CREDENTIAL = 4_000
#: Longest e-mail address, characters (RFC 5321).
_LONGEST_EMAIL = 254


@dataclass(frozen=True, slots=True)
class Visitors:
    """Sessions and form tokens of requests.

    Args:
        sessions: The sessions.
        accounts: The accounts of Label Studio.
        tokens: The tokens of forms.
        notices: The sentences that the next page shows.
        is_https: Whether browsers reach the pages by https alone, so that cookies are never sent otherwise.
    """

    sessions: Sessions
    accounts: AccountDirectory
    tokens: FormTokens
    notices: Notices
    is_https: bool

    def session_of(self, request: Request) -> Session | None:
        """Return the session of a request; None if nobody is logged in."""
        cookie = _cookie(request, SESSION_COOKIE)
        return self.sessions.current(cookie) if cookie else None

    def form_token(self, request: Request) -> str:
        """Return the token for the forms of the response; without a cookie, one is set by ``keep_cookie``."""
        return self.tokens.make(self._form_cookie(request))

    def is_own_form(self, request: Request) -> bool:
        """Return whether a sent form was shown to the same browser by these pages."""
        given = request.form.get("form_token", "")
        cookies = (_cookie(request, name) for name in (SESSION_COOKIE, FORM_COOKIE))
        return any(self.tokens.is_valid(cookie, given) for cookie in cookies)

    def keep_cookies(self, response: Response) -> Response:
        """Set the cookie that the forms of a response belong to, if they belong to a new one; remove a shown notice."""
        if (cookie := g.get("new_form_cookie")) is not None:
            self._set_cookie(response, FORM_COOKIE, cookie)
        self.notices.forget(response, is_https=self.is_https)
        return response

    def leave_notice(self, request: Request, response: Response, notice: Notice) -> None:
        """Make the next page of this session show a notice."""
        self.notices.leave(response, _cookie(request, SESSION_COOKIE), notice, is_https=self.is_https)

    def notice(self, request: Request) -> Notice | None:
        """Return the notice that the page of this request has to show."""
        return self.notices.take(request, _cookie(request, SESSION_COOKIE))

    def log_in(self, request: Request, project_ids: Sequence[int]) -> Account:
        """Check the credentials of a log-in form with Label Studio.

        Raises:
            Refused: Label Studio does not accept them.
            LabelStudioUnavailable: Label Studio does not answer.
        """
        token = request.form.get("token", "").strip()[:LONGEST_CREDENTIAL]
        if token:
            return self.accounts.by_token(token, project_ids)
        return self.accounts.by_password(
            email_of(request), request.form.get("password", "")[:LONGEST_CREDENTIAL], project_ids
        )

    def begin(self, request: Request, response: Response, account: Account) -> None:
        """Begin a session with a new token, and end the former one of this browser."""
        self.end(request, response)
        self._set_cookie(response, SESSION_COOKIE, self.sessions.begin(account))

    def end(self, request: Request, response: Response) -> None:
        """End the session of a request."""
        if cookie := _cookie(request, SESSION_COOKIE):
            self.sessions.end(cookie)
        response.delete_cookie(SESSION_COOKIE, path=ROOT, secure=self.is_https, httponly=True, samesite="Lax")

    def _form_cookie(self, request: Request) -> str:
        if (cookie := _cookie(request, SESSION_COOKIE)) and g.get("session") is not None:
            return cookie
        if cookie := _cookie(request, FORM_COOKIE):
            return cookie
        if "new_form_cookie" not in g:
            g.new_form_cookie = secrets.token_urlsafe(32)
        return str(g.new_form_cookie)

    def _set_cookie(self, response: Response, name: str, value: str) -> None:
        response.set_cookie(name, value, path=ROOT, secure=self.is_https, httponly=True, samesite="Lax")


def _cookie(request: Request, name: str) -> str:
    value = request.cookies.get(name, "")
    return value if len(value) <= _LONGEST_COOKIE else ""


def visible_projects() -> Visible:
    """Return the projects that the person of the current request may see."""
    visible: Visible = g.session.account.project_ids
    return visible


def email_of(request: Request) -> str:
    """Return the e-mail address of a log-in form, as Label Studio compares it; "" if it is longer than one can be."""
    email = request.form.get("email", "").strip()
    return email if len(email) <= _LONGEST_EMAIL else ""


def network_of_request() -> str:
    """Return the network of the current request's client, whose log-ins are counted together."""
    return network_of(current_request.remote_addr or "")


def credential_of_form() -> str:
    """Return the key that counts log-ins from everywhere: the request's e-mail address, or its token's digest."""
    name = email_of(current_request).casefold() or current_request.form.get("token", "").strip()[:LONGEST_CREDENTIAL]
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()


def credential_in_network() -> str:
    """Return the key that counts log-ins of a network: the request's credential and its client's network."""
    return f"{network_of_request()} {credential_of_form()}"
