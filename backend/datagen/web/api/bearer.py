"""Accounts of requests, by the Label Studio token in the header “Authorization”.

Label Studio checks each token. Its answer is kept for a minute under a digest of the token, and a network with many
wrong tokens has to wait, so that neither clients nor guesses reach Label Studio at each request.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

import limits
import structlog
from cachetools import TTLCache
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from datagen.errors import DatagenError, LabelStudioUnavailable, Refused
from datagen.label_studio.api.accounts import REFUSED_CREDENTIAL, Account, AccountDirectory
from datagen.web.api.problems import OUTAGE_RETRY_SECONDS, RETRY_AFTER_SECONDS, Problem
from datagen.web.wrong_credentials import network_of

log = structlog.get_logger()

#: Seconds for which an answer of Label Studio about a token is used, and the largest number of such answers.
KEPT_SECONDS, MAX_KEPT = 60.0, 4_096
#: Wrong tokens that one network may send, as log-ins at the pages.
WRONG_TOKENS = "60 per minute"
#: Longest token, characters.
LONGEST_TOKEN = 4_000
#: Schemes of the header “Authorization”: that of RFC 6750, and Label Studio's own.
_SCHEMES = ("bearer", "token")
_NO_TOKEN = "Send a token of your Label Studio account in the header “Authorization: Bearer …”."  # noqa: S105
_UNAVAILABLE = "Label Studio does not answer, so the token cannot be checked. Try again in a moment."
_NO_ACCESS = "Tokens cannot be checked now: Datagen itself has no access to Label Studio. The log says why."
_TOO_MANY = "There were too many wrong tokens from your network. Try again in a minute."
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="datagen"'}


class TokenAccounts:
    """The accounts of tokens; thread-safe.

    Args:
        directory: The accounts of Label Studio.
        known_projects: Returns the ids of the projects whose visibility is checked.
        clock: The time in seconds.
    """

    def __init__(
        self,
        directory: AccountDirectory,
        known_projects: Callable[[], Sequence[int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._known_projects = directory, known_projects
        self._key = secrets.token_bytes(32)
        self._kept: TTLCache[bytes, Account | None] = TTLCache(MAX_KEPT, KEPT_SECONDS, clock)
        self._lock = threading.Lock()
        self._wrong, self._limit = FixedWindowRateLimiter(MemoryStorage()), limits.parse(WRONG_TOKENS)

    def account_of(self, header: str, address: str) -> Account:
        """Return the account of a request.

        Args:
            header: The header “Authorization”.
            address: The address of the client.

        Raises:
            Problem: There is no token, Label Studio does not accept it, or it cannot be checked now.
        """
        token, network = _token_of(header), network_of(address)
        digest = hashlib.blake2b(token.encode(errors="replace"), key=self._key, digest_size=32).digest()
        with self._lock:
            account, is_known = self._kept.get(digest), digest in self._kept
        if account is not None:
            return account
        if not self._wrong.test(self._limit, network):
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, _TOO_MANY, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})
        if not is_known:
            account = self._checked(token)
            with self._lock:
                self._kept[digest] = account
        if account is None:
            self._wrong.hit(self._limit, network)
            raise Problem(HTTPStatus.UNAUTHORIZED, REFUSED_CREDENTIAL, headers=_CHALLENGE)
        return account

    def _checked(self, token: str) -> Account | None:
        """Return the account of a token by asking Label Studio; None if it does not accept the token."""
        try:
            return self._directory.by_token(token, self._known_projects())
        except Refused:
            return None
        except DatagenError as fault:
            log.warning("api.token_not_checked", reason=str(fault))
            sentence = _UNAVAILABLE if isinstance(fault, LabelStudioUnavailable) else _NO_ACCESS
            headers = {"Retry-After": str(OUTAGE_RETRY_SECONDS)}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, sentence, "unavailable", headers=headers) from None


def _token_of(header: str) -> str:
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() not in _SCHEMES or not token or len(token) > LONGEST_TOKEN:
        raise Problem(HTTPStatus.UNAUTHORIZED, _NO_TOKEN, headers=_CHALLENGE)
    return token
