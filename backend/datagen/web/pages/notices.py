"""One sentence that the next page shows: what an action did, or why it was refused.

It travels in a cookie, signed and bound to the session, so that nobody can make a page show a sentence of theirs, and a
page that is loaded again does not repeat it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import Request, Response, g
from itsdangerous import BadData, URLSafeTimedSerializer

from datagen.web.pages.forms import ROOT

#: Seconds after which a sentence is not shown any more.
SECONDS = 120
#: Longest sentence, characters; a cookie has 4,096 bytes at most.
LONGEST = 700
_COOKIE = "datagen_notice"


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence above a page's content. ``is_problem``: nothing was changed, and the sentence says why."""

    sentence: str
    is_problem: bool = False


class Notices:
    """Stores and reads notices in the browser; ``keys`` are the installation's, of which the last one signs."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._serializer = URLSafeTimedSerializer([*keys], salt="datagen.notice")

    def leave(self, response: Response, session_token: str, notice: Notice, *, is_https: bool) -> None:
        """Store a notice for the next page of this session."""
        sentence = notice.sentence if len(notice.sentence) <= LONGEST else notice.sentence[: LONGEST - 1] + "…"
        body = {"session": _digest(session_token), "sentence": sentence, "is_problem": notice.is_problem}
        value = str(self._serializer.dumps(body))
        response.set_cookie(_COOKIE, value, max_age=SECONDS, path=ROOT, secure=is_https, httponly=True, samesite="Lax")

    def take(self, request: Request, session_token: str) -> Notice | None:
        """Return the notice of this session's last action, once; ``forget`` removes its cookie."""
        value = request.cookies.get(_COOKIE)
        if value is None:
            return None
        g.notice_shown = True
        try:
            body: dict[str, Any] = self._serializer.loads(value, max_age=SECONDS)
        except BadData:
            return None
        if body["session"] != _digest(session_token):
            return None
        return Notice(body["sentence"], body["is_problem"])

    def forget(self, response: Response, *, is_https: bool) -> None:
        """Remove the cookie of a notice that the response shows."""
        if g.get("notice_shown", False):
            response.delete_cookie(_COOKIE, path=ROOT, secure=is_https, httponly=True, samesite="Lax")


def _digest(token: str) -> str:
    return hashlib.sha256(b"datagen.notice:" + token.encode()).hexdigest()[:32]
