"""Compression of pages and their files for browsers that accept gzip.

The length of a compressed page depends on how often a text occurs in it, and a page contains the token of its forms
beside texts of its address (the attack BREACH). Each compressed page therefore gets a random number of bytes, as in
Django's GZipMiddleware (“Heal the Breach”, https://ieeexplore.ieee.org/document/9754554). The token is of no use
without the session's cookie, which browsers do not send with forms of other sites (SameSite).
"""

from __future__ import annotations

import gzip
import secrets
import struct
import zlib

from flask import Response, request

#: Level of zlib: a page of 100 kB takes about a millisecond.
_LEVEL = 4
#: Level of files, which are compressed once.
_LEVEL_OF_FILES = 9
#: Smallest response that is compressed, bytes.
_SMALLEST = 500
#: Largest number of random bytes that a response gets.
_MOST_RANDOM = 100
_TYPES = frozenset({"text/html", "text/css", "text/javascript", "application/json", "image/svg+xml"})
#: Bytes 4 to 9 of a gzip header: no time of modification, the fastest or no special algorithm, an unknown system.
_REST_OF_HEADER = b"\0\0\0\0\0\xff"
#: Flag of a gzip header: the name of a file follows.
_HAS_NAME = 8


def compress(response: Response) -> Response:
    """Compress a response if its client accepts that, and return it. One that is streamed or encoded stays as it is."""
    if response.mimetype not in _TYPES or response.is_streamed or "Content-Encoding" in response.headers:
        return response
    response.vary.add("Accept-Encoding")
    if not accepts_gzip() or len(data := response.get_data()) < _SMALLEST:
        return response
    response.set_data(padded(data))
    response.headers["Content-Encoding"] = "gzip"
    return response


def accepts_gzip() -> bool:
    """Return whether the client of the current request accepts gzip."""
    return bool(request.accept_encodings.quality("gzip") > 0)


def packed(data: bytes) -> bytes:
    """Return the gzip file of a file without secrets."""
    return gzip.compress(data, _LEVEL_OF_FILES, mtime=0)


def padded(data: bytes) -> bytes:
    """Return a gzip file (RFC 1952) whose header has a file name of random length."""
    name = b"x" * secrets.randbelow(_MOST_RANDOM + 1)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = b"\x1f\x8b\x08" + bytes([_HAS_NAME]) + _REST_OF_HEADER + name + b"\0"
    end = struct.pack("<LL", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return header + packer.compress(data) + packer.flush() + end
