"""Who may come in: Label Studio with the webhooks' secret, people and the ML-backend connection with basic auth."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from datagen.store.study_secrets import WebhookClaim, read_claim
from datagen.web.inbox import SECRET_HEADER
from datagen.web.responses import DELAY
from datagen.web.wrong_credentials import WrongCredentials

_NO_HEADERS: Mapping[str, str] = {}


class Authenticator:
    """Compares what a request brings with what is expected, in constant time.

    Of secrets and passwords the current and the previous one are let in, so that they can be changed while running.
    """

    def __init__(
        self, user: str, passwords: Sequence[str], webhook_secrets: Sequence[str], wrong: WrongCredentials
    ) -> None:
        self._user = user.encode()
        self._passwords = [one.encode() for one in passwords if one]
        self._secrets = [one for one in webhook_secrets if one]
        self._wrong = wrong

    def webhook_claim(self) -> WebhookClaim | None:
        """Whose webhook secret the request carries; None if it carries none that is genuine."""
        return read_claim(request.headers.get(SECRET_HEADER, ""), self._secrets)

    def has_password(self) -> bool:
        """Whether the request carries the right user name and password."""
        try:
            given = request.authorization
        except ValueError:  # werkzeug's, for a header that is not ASCII
            return False
        if given is None or given.type != "basic":
            return False
        user_fits = hmac.compare_digest((given.username or "").encode(), self._user)
        password_fits = _is_one_of((given.password or "").encode(), self._passwords)
        return user_fits and password_fits

    def password_required(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Let a view be seen with basic auth only."""

        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not self.has_password():
                return self.refusal(
                    {"error": "log in with BASIC_AUTH_USER and BASIC_AUTH_PASS"},
                    {"WWW-Authenticate": 'Basic realm="datagen"'},
                )
            return view(*args, **kwargs)

        return guarded

    def refusal(self, answer: dict[str, Any], headers: Mapping[str, str] = _NO_HEADERS) -> ResponseReturnValue:
        """``answer`` with 401; 429 in its place where too many wrong credentials came from this address."""
        given = request.headers.get("Authorization", "") + "\n" + request.headers.get(SECRET_HEADER, "")
        penalty = self._wrong.note(request.remote_addr or "", given) if given.strip() else None
        if penalty is None:
            return answer, 401, dict(headers)
        if penalty.delay and (delay := request.environ.get(DELAY)) is not None:
            delay(penalty.delay)
        seconds = penalty.retry_after
        error = f"too many wrong passwords or secrets from this address; try again in {seconds} s"
        return {"error": error}, 429, {"Retry-After": str(seconds)}


def _is_one_of(given: bytes, expected: Sequence[bytes]) -> bool:
    """Compares with each, whatever the earlier ones gave: how long it takes tells nothing."""
    return bool(sum(hmac.compare_digest(given, one) for one in expected))
