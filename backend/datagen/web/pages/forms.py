"""Forms and queries of the pages: a token against forged requests, numbers, and the address to return to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from flask import request

from datagen.domain.foreign_text import whole_number

#: First path segment of all pages; also the path of their cookies, so that they are not sent to anything else of this
#: host.
ROOT = "/studio"
#: Largest number that an address may contain; every column of ids and indices can be compared with it.
MOST = 2**53
#: Largest number that a form may contain.
MOST_IN_FORM = 10**9 - 1
#: Largest length of an address to return to, characters.
_LONGEST_ADDRESS = 1_000


class FormTokens:
    """Tokens of forms: each belongs to a cookie of the browser that the form was shown to."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = [*keys]

    def make(self, cookie: str) -> str:
        """Return the token for the forms of a browser with this cookie."""
        return _digest(self._keys[-1], cookie)

    def is_valid(self, cookie: str, token: str) -> bool:
        """Return whether a form's token belongs to the cookie. A key that was replaced is accepted, too."""
        given = token.encode(errors="replace")
        return bool(cookie) and any(hmac.compare_digest(_digest(key, cookie).encode(), given) for key in self._keys)


def _digest(key: bytes, cookie: str) -> str:
    return hmac.new(key, b"datagen.form:" + cookie.encode(), hashlib.sha256).hexdigest()


def number_of(name: str) -> int | None:
    """Return the number of that name in the query of the current request; None if there is none."""
    return whole_number(request.args.get(name, ""), MOST)


def safe_target(address: str) -> str:
    """Return an address to return to if it is one of the pages; else that of the home page."""
    home = f"{ROOT}/"
    if len(address) > _LONGEST_ADDRESS or not address.isascii() or not address.isprintable() or "\\" in address:
        return home
    try:
        parts = urlsplit(address)
    except ValueError:
        return home
    if parts.scheme or parts.netloc or not parts.path.startswith(home):
        return home
    if any(part in parts.path for part in ("//", "..", "%")):  # a browser reads %2e%2e as ..
        return home
    return address
