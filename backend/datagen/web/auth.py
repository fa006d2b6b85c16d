"""Request authentication: a secret for Label Studio's webhooks, basic auth for people and the ML-backend connection."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from flask import request
from flask.typing import ResponseReturnValue

from datagen.label_studio.projects.provisioning import SECRET_HEADER
from datagen.store.study_secrets import WebhookClaim, read_claim
from datagen.web.responses import DELAY
from datagen.web.wrong_credentials import WrongCredentials

_NO_HEADERS: Mapping[str, str] = {}


class Authenticator:
    """Compares the credentials of a request with the expected ones, in constant time.

    The current and the previous secret and password are accepted, so that they can be changed without downtime.
    """

    def __init__(
        self, user: str, passwords: Sequence[str], webhook_secrets: Sequence[str], wrong: WrongCredentials
    ) -> None:
        self._user = user.encode()
        self._passwords = [password.encode() for password in passwords if password]
        self._secrets = [secret for secret in webhook_secrets if secret]
        self._wrong = wrong

    def webhook_claim(self) -> WebhookClaim | None:
        """Return the claim of the request's webhook secret; None if the request has no valid secret."""
        return read_claim(request.headers.get(SECRET_HEADER, ""), self._secrets)

    def has_password(self) -> bool:
        """Return whether the request carries the right user name and password."""
        try:
            given = request.authorization
        except ValueError:  # raised by werkzeug for a header that is not ASCII
            return False
        if given is None or given.type != "basic":
            return False
        user_fits = hmac.compare_digest((given.username or "").encode(), self._user)
        password_fits = _is_one_of((given.password or "").encode(), self._passwords)
        return user_fits and password_fits

    def password_required(self, view: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a view so that it requires basic auth."""

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
        """Return the response to wrong credentials: ``answer`` with status 401.

        After too many wrong credentials from one address, return an error with status 429 in its place.
        """
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
    """Return whether ``given`` equals an expected value. All values are compared, so the duration reveals nothing."""
    return bool(sum(hmac.compare_digest(given, value) for value in expected))
