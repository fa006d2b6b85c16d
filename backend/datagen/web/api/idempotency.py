"""Requests that are carried out once however often they are sent, by the header “Idempotency-Key”."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from http import HTTPStatus

from flask import Response, g, request

from datagen.store import api_requests
from datagen.store.api_requests import Claim, KeyInUse, KeyReused
from datagen.store.database import Database
from datagen.web.api.problems import Problem
from datagen.workflow.services import UnitOfWork

HEADER = "Idempotency-Key"
#: Form of a key: printable ASCII without blanks.
PATTERN = r"^[!-~]{1,255}$"
#: Header of a response that was stored with an earlier request.
REPLAYED = "Idempotency-Replayed"
_WRONG_KEY = f"The header {HEADER} has 1 to 255 printable characters without blanks, such as those of a random UUID."


def once(database: Database, carry_out: Callable[[], Response]) -> Response:
    """Return the response of ``carry_out``, or the one that an earlier request with the same key had.

    Only a response to a request that was carried out is stored. A refused one changed nothing, so it may be sent again.

    Raises:
        Problem: the key is in use, was sent with another request, or is no key.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return carry_out()
    if re.match(PATTERN, key) is None:
        raise Problem(HTTPStatus.BAD_REQUEST, _WRONG_KEY, "wrong-idempotency-key")
    try:
        claim = api_requests.claim(database, api_requests.key_digest(g.account.id, key), _digest_of_request())
    except KeyReused as refusal:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(refusal), "idempotency-key-reused") from None
    except KeyInUse as refusal:
        headers = {"Retry-After": "2"}
        raise Problem(HTTPStatus.CONFLICT, str(refusal), "idempotency-key-in-use", headers=headers) from None
    if not isinstance(claim, Claim):
        if claim.status is not None:
            replayed = Response(claim.body, claim.status, content_type="application/json")
            replayed.headers[REPLAYED] = "true"
            return replayed
        g.is_applied = True
        return carry_out()
    g.claim = claim
    try:
        response = carry_out()
    except BaseException:
        api_requests.release(database, claim)
        raise
    api_requests.finish(database, claim, response.status_code, response.get_data(as_text=True))
    return response


def current_claim() -> Claim | None:
    """Return the claim of the current request; None if it has no key."""
    claim: Claim | None = g.get("claim")
    return claim


def mark_applied(unit: UnitOfWork) -> None:
    """Record, in the transaction of a change, that the current request made it; do nothing if it has no key.

    Raises:
        Problem: another process made the change, or makes it.
    """
    claim = current_claim()
    if claim is not None and not api_requests.mark_applied(unit.session, claim):
        raise taken_over()


def taken_over() -> Problem:
    """Return the problem of a request that another process carries out."""
    return Problem(HTTPStatus.CONFLICT, "Another process carries out this request.", "idempotency-key-in-use")


def is_applied() -> bool:
    """Return whether an earlier request with the current one's key made its change, and has no stored response."""
    return bool(g.get("is_applied", False))


def _digest_of_request() -> str:
    """Return the digest of a request. Of a form with files, which has another boundary each time, its parts count."""
    digest = hashlib.sha256(f"{request.method} {request.full_path}\n".encode())
    if request.mimetype == "multipart/form-data":
        for field, file in sorted(request.files.items(multi=True), key=lambda part: (part[0], part[1].filename or "")):
            content = hashlib.sha256(file.stream.read()).hexdigest()
            file.stream.seek(0)
            digest.update(f"{field}\0{file.filename}\0{content}\n".encode(errors="replace"))
    else:
        digest.update(request.get_data())
    return digest.hexdigest()
