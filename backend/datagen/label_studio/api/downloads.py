"""Bringing a picture from Label Studio, and from nowhere else.

A task's image address is written by whoever made the task, so it is not trusted: scheme, host and port must be those
of the configured Label Studio, on every redirect anew, and the token goes there alone. What the name resolves to is
checked by the connection, see ``wire``. Size and time are bounded while the bytes come, whatever was announced.
"""

from __future__ import annotations

import threading
from urllib.parse import urljoin

import httpx

from datagen.errors import InputProblem, LabelStudioMissing
from datagen.label_studio.api.http import Connection, origin
from datagen.label_studio.api.transport import deadline, is_over

#: A picture has arrived within this, redirects included, seconds; 64 MiB then need 0.5 MiB/s.
DOWNLOAD_SECONDS = 120.0
#: Label Studio's storage proxy redirects once; anything long is a loop.
_MOST_REDIRECTS = 5
#: Bytes of an error answer that are read: the sentence in it is short.
_MOST_ERROR_BYTES = 8 * 2**10


def fetch(
    connection: Connection,
    url_or_path: str,
    *,
    max_bytes: int,
    seconds: float = DOWNLOAD_SECONDS,
    cancelled: threading.Event | None = None,
) -> bytes:
    """The bytes at an address of Label Studio, or a path on it.

    Stops as soon as they are more than ``max_bytes``, or have not all come within ``seconds``, or another thread sets
    ``cancelled``.

    Raises:
        InputProblem: another origin's address, more bytes than that, or too slow; names which.
        LabelStudioMissing: the file is gone.
        LabelStudioUnavailable: Label Studio did not answer.
        LabelStudioError: it refuses.
    """
    url = _own(connection.url, connection.url + "/", url_or_path.strip())
    with deadline(seconds, cancelled):
        return _follow(connection, url, max_bytes, seconds)


def _follow(connection: Connection, start: str, max_bytes: int, seconds: float) -> bytes:
    url = start
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            # uncompressed: a small body could unfold into any number of bytes between two looks at the size
            with connection.http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                if response.has_redirect_location:
                    url = _own(connection.url, url, response.headers["location"])
                    continue
                if not response.is_success:
                    _check(connection, _shortened(response), url)
                return _read(response, max_bytes, url)
        except (httpx.InvalidURL, UnicodeError) as error:  # characters that none may have, half a surrogate pair
            raise InputProblem(f"{_short(url)} is no address; import the image again.") from error
        except httpx.HTTPError as error:
            if is_over():
                raise InputProblem(
                    f"{_short(url)} had not arrived after {seconds:g} s; use a smaller file, or see why Label Studio "
                    "sends it so slowly."
                ) from error
            raise connection.unavailable(error) from error
    raise InputProblem(f"{_short(start)} redirects more than {_MOST_REDIRECTS} times; import the image again.")


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


def _shortened(response: httpx.Response) -> httpx.Response:
    """An error answer with the beginning of its body, whatever its length."""
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) >= _MOST_ERROR_BYTES:
            break
    kind = {"Content-Type": response.headers.get("content-type", "")}
    return httpx.Response(
        response.status_code, headers=kind, content=body[:_MOST_ERROR_BYTES], request=response.request
    )


def _check(connection: Connection, response: httpx.Response, url: str) -> None:
    # Label Studio 1.23 answers 500 for an upload whose row is gone (it asks None for its permissions), which must
    # not look like a server that is worth another try
    if response.status_code == 500 and "'NoneType' object has no attribute 'has_permission'" in response.text:
        raise LabelStudioMissing(f"{_short(url)} is gone from Label Studio; upload the image again.")
    connection.check(response, f"the image {_short(url)}")


def _read(response: httpx.Response, max_bytes: int, url: str) -> bytes:
    if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
        raise InputProblem(
            f"{_short(url)} was sent compressed ({encoding[:20]}) though that was not asked for; switch that off for "
            "images where Label Studio's proxy is set up."
        )
    too_large = InputProblem(
        f"{_short(url)} is larger than {max_bytes:,} bytes; use a smaller file, or raise DATAGEN_MAX_IMAGE_BYTES."
    )
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        size += len(part)
        if size > max_bytes:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def _short(url: str) -> str:
    """An address for people: no query (it may be signed), nothing that cannot be shown, not long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in url.partition("?")[0])
    return text if len(text) <= 120 else "…" + text[-119:]
