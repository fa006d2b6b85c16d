"""Bringing a picture from Label Studio, and from nowhere else.

A task's image address is written by whoever made the task, so it is not trusted: scheme, host and port must be those
of the configured Label Studio, on every redirect anew, and the token goes there alone.
"""

from __future__ import annotations

from urllib.parse import urljoin

import httpx

from datagen.errors import InputProblem, LabelStudioMissing
from datagen.label_studio.connection import Connection, origin

#: Label Studio's storage proxy redirects once; anything long is a loop.
_MOST_REDIRECTS = 5


def fetch(connection: Connection, url_or_path: str, *, max_bytes: int) -> bytes:
    """The bytes at an address of Label Studio, or a path on it; stops as soon as they are more than ``max_bytes``.

    Raises:
        InputProblem: another origin's address, or more bytes than that; names which.
        LabelStudioMissing: the file is gone.
        LabelStudioUnavailable: Label Studio did not answer.
        LabelStudioError: it refuses.
    """
    url = _own(connection.url, connection.url + "/", url_or_path.strip())
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            with connection.http.stream("GET", url) as response:
                if response.has_redirect_location:
                    url = _own(connection.url, url, response.headers["location"])
                    continue
                if not response.is_success:
                    response.read()
                    _check(connection, response, url)
                return _read(response, max_bytes, url)
        except httpx.InvalidURL as error:  # a path with characters that none may have
            raise InputProblem(f"{_short(url)} is no address; import the image again.") from error
        except httpx.HTTPError as error:
            raise connection.unavailable(error) from error
    raise InputProblem(f"{_short(url_or_path)} redirects more than {_MOST_REDIRECTS} times; import the image again.")


def _own(base: str, here: str, there: str) -> str:
    """The address that ``there`` is, seen from ``here``, if it has the scheme, host and port of Label Studio."""
    try:
        url = urljoin(here, there)
    except ValueError:
        url = there
    if origin(url) != origin(base):
        raise InputProblem(
            f"{_short(url)} is not on Label Studio ({base}), and images are fetched from nowhere else. Upload the "
            "image into the project, or import it through one of its storages with “use pre-signed URLs” off."
        )
    return url


def _check(connection: Connection, response: httpx.Response, url: str) -> None:
    # Label Studio 1.23 answers 500 for an upload whose row is gone (it asks None for its permissions), which must
    # not look like a server that is worth another try
    if response.status_code == 500 and "'NoneType' object has no attribute 'has_permission'" in response.text:
        raise LabelStudioMissing(f"{_short(url)} is gone from Label Studio; upload the image again.")
    connection.check(response, f"the image {_short(url)}")


def _read(response: httpx.Response, max_bytes: int, url: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        size += len(part)
        if size > max_bytes:
            raise InputProblem(
                f"{_short(url)} is larger than {max_bytes:,} bytes; use a smaller file, or raise "
                "DATAGEN_MAX_IMAGE_BYTES."
            )
        parts.append(part)
    return b"".join(parts)


def _short(url: str) -> str:
    """An address for people: no query (it may be signed), not long."""
    text = url.partition("?")[0]
    return text if len(text) <= 120 else "…" + text[-119:]
