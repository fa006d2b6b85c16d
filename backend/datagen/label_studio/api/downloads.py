"""Download of images from Label Studio, and from no other server.

The author of a task chooses its image address, so the address is not trusted. Its scheme, host and port must be those
of the configured Label Studio, also after every redirect. The token is sent only there. ``transport`` checks the IP
addresses of the host. Size and time are limited during the download, without trust in the headers."""

from __future__ import annotations

import threading
from urllib.parse import urljoin

import httpx

from datagen.errors import InputProblem, LabelStudioMissing
from datagen.label_studio.api import failures
from datagen.label_studio.api.http import Connection, origin
from datagen.label_studio.api.port import DOWNLOAD_SECONDS
from datagen.label_studio.api.transport import deadline, is_over

#: Maximum number of redirects; Label Studio's storage proxy redirects once.
_MAX_REDIRECTS = 5
#: Maximum number of bytes that are read of an error response; its message is short.
_MAX_ERROR_BYTES = 8 * 2**10


def fetch(
    connection: Connection,
    url_or_path: str,
    *,
    max_bytes: int,
    seconds: float = DOWNLOAD_SECONDS,
    cancelled: threading.Event | None = None,
) -> bytes:
    """The bytes at a URL of Label Studio, or at a path on it.

    The download stops at more than ``max_bytes``, after ``seconds``, or when another thread sets ``cancelled``.

    Raises:
        InputProblem: The URL has another origin, the file is too large, or the download is too slow; the message says
            which.
        LabelStudioMissing: The file does not exist.
        LabelStudioUnavailable: Label Studio did not answer.
        LabelStudioError: Label Studio refuses the request.
    """
    url = same_origin_url(connection.url, connection.url + "/", url_or_path.strip())
    with deadline(seconds, cancelled):
        return _follow(connection, url, max_bytes, seconds)


def _follow(connection: Connection, start: str, max_bytes: int, seconds: float) -> bytes:
    url = start
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            # uncompressed: a small body could expand to any number of bytes between two checks of the size
            with connection.http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                if response.has_redirect_location:
                    url = same_origin_url(connection.url, url, response.headers["location"])
                    continue
                if not response.is_success:
                    _check(connection, _shortened(response), url)
                return _read(response, max_bytes, url)
        except (
            httpx.InvalidURL,
            UnicodeError,
        ) as error:  # characters that a URL cannot contain, or half a surrogate pair
            raise InputProblem(f"{short(url)} is no address; import the image again.") from error
        except httpx.HTTPError as error:
            if is_over():
                raise InputProblem(
                    f"{short(url)} had not arrived after {seconds:g} s; use a smaller file, or see why Label Studio "
                    "sends it so slowly."
                ) from error
            raise failures.unavailable(error, connection.url) from error
    raise InputProblem(f"{short(start)} redirects more than {_MAX_REDIRECTS} times; import the image again.")


def same_origin_url(base: str, current: str, target: str) -> str:
    """The URL ``target``, resolved relative to the URL ``current``, if it has the origin of the URL ``base``.

    Raises:
        InputProblem: It has another scheme, host or port.
    """
    try:
        url = urljoin(current, target)
    except ValueError:
        url = target
    if origin(url) != origin(base):
        raise InputProblem(
            f"{short(url)} is not on Label Studio ({base}), and images are fetched from nowhere else. Upload the "
            "image into the project, or import it through one of its storages with “use pre-signed URLs” off."
        )
    return url


def _shortened(response: httpx.Response) -> httpx.Response:
    """A copy of an error response that has only the beginning of its body."""
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) >= _MAX_ERROR_BYTES:
            break
    kind = {"Content-Type": response.headers.get("content-type", "")}
    return httpx.Response(response.status_code, headers=kind, content=body[:_MAX_ERROR_BYTES], request=response.request)


def _check(connection: Connection, response: httpx.Response, url: str) -> None:
    # Label Studio 1.23 answers 500 for an upload whose row was deleted (it checks the permissions of None), which must
    # not be treated as a server fault that is retried
    if response.status_code == 500 and "'NoneType' object has no attribute 'has_permission'" in response.text:
        raise gone(url)
    failures.check(response, f"the image {short(url)}", connection.url)


def _read(response: httpx.Response, max_bytes: int, url: str) -> bytes:
    if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
        raise InputProblem(
            f"{short(url)} was sent compressed ({encoding[:20]}) though that was not asked for; switch that off for "
            "images where Label Studio's proxy is set up."
        )
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > max_bytes:
        raise too_large(url, max_bytes)
    parts: list[bytes] = []
    size = 0
    for part in response.iter_bytes():
        size += len(part)
        if size > max_bytes:
            raise too_large(url, max_bytes)
        parts.append(part)
    return b"".join(parts)


def gone(url: str) -> LabelStudioMissing:
    """The error for a file that was deleted from Label Studio."""
    return LabelStudioMissing(f"{short(url)} is gone from Label Studio; upload the image again.")


def too_large(url: str, max_bytes: int) -> InputProblem:
    """The error for a file of more than ``max_bytes``."""
    return InputProblem(
        f"{short(url)} is larger than {max_bytes:,} bytes; use a smaller file, or raise DATAGEN_MAX_IMAGE_BYTES."
    )


def short(url: str) -> str:
    """A URL for messages: without its query, which may be signed, and with at most 120 characters.

    Unprintable characters are replaced.
    """
    text = "".join(letter if letter.isprintable() else "?" for letter in url.partition("?")[0])
    return text if len(text) <= 120 else "…" + text[-119:]
