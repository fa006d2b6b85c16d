"""Why a storage driver failed, in a few words that name no bucket, endpoint or path, and what mends it.

Drivers raise errors of their own packages (botocore's, aiohttp's) that are not installed everywhere, so errors are
recognized by the names of their classes, by their error number, and by the code that an S3 server answered.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """Why it failed, and what a person can do."""

    reason: str
    remedy: str


_REACH = "see that it runs, and that DATAGEN_STORE_URL (for S3 also AWS_ENDPOINT_URL) leads to it"
_RIGHTS = "give Datagen's user or credentials the right to read, write, list and delete there"
_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to credentials that the store accepts"
_ROOM = "make room in it"

#: It accepted a connection or a call, and nothing came of it.
TOO_LATE = Refusal("it did not answer in time", _REACH)
#: Codes that S3 servers answer.
_CODES = {
    "NoSuchBucket": Refusal(
        "its bucket does not exist", "create the bucket, or set DATAGEN_STORE_URL to one that exists"
    ),
    "InvalidBucketName": Refusal("its bucket's name is not valid", "set DATAGEN_STORE_URL to a bucket that exists"),
    "AccessDenied": Refusal("access is denied", _RIGHTS),
    "AllAccessDisabled": Refusal("access is denied", _RIGHTS),
    # to a HEAD, which has no body that could hold a code
    "403": Refusal("access is denied", f"{_CREDENTIALS}, and {_RIGHTS}"),
    "InvalidAccessKeyId": Refusal("it does not know the access key", _CREDENTIALS),
    "SignatureDoesNotMatch": Refusal("it does not accept the secret key", _CREDENTIALS),
    "ExpiredToken": Refusal("the credentials have expired", _CREDENTIALS),
    "InvalidToken": Refusal("it does not accept the credentials", _CREDENTIALS),
    "RequestTimeTooSkewed": Refusal("its clock and this machine's differ", "set both clocks right"),
    "SlowDown": Refusal("it asks for fewer requests", "wait, or run fewer workers"),
    "XMinioStorageFull": Refusal("it is full", _ROOM),
    "QuotaExceeded": Refusal("it is full", _ROOM),
}
#: Error numbers of the system.
_NUMBERS = {
    errno.ENOSPC: Refusal("it is full ({})", _ROOM),
    errno.EDQUOT: Refusal("it is full ({})", _ROOM),
    errno.EROFS: Refusal("it cannot be written ({})", "mount it for writing"),
    errno.EACCES: Refusal("access is denied ({})", _RIGHTS),
    errno.EPERM: Refusal("access is denied ({})", _RIGHTS),
    errno.ESTALE: Refusal("its mount is lost ({})", "mount it again"),
    errno.ENOTCONN: Refusal("its mount is lost ({})", "mount it again"),
    errno.EIO: Refusal("its disk reports an error ({})", "see the system's log, and replace the disk if it says so"),
    errno.ECONNREFUSED: Refusal("it refuses connections ({})", _REACH),
    errno.ECONNRESET: Refusal("it closed the connection ({})", _REACH),
    errno.EPIPE: Refusal("it closed the connection ({})", _REACH),
    errno.EHOSTUNREACH: Refusal("it cannot be reached ({})", _REACH),
    errno.ENETUNREACH: Refusal("it cannot be reached ({})", _REACH),
    errno.ENOTDIR: Refusal("a file is in the place of its folder ({})", "set DATAGEN_STORE_URL to a folder"),
    errno.EMFILE: Refusal("this process has too many open files ({})", "raise its limit of open files"),
}
#: Classes of botocore's, aiohttp's and Python's errors, the special ones first.
_CLASSES = {
    "ReadTimeoutError": TOO_LATE,
    "ConnectTimeoutError": TOO_LATE,
    "TimeoutError": TOO_LATE,
    "gaierror": Refusal("its host name is not known", _REACH),
    "ClientConnectorDNSError": Refusal("its host name is not known", _REACH),
    "SSLError": Refusal("no TLS connection to it can be made", "see that its certificate is valid for its name"),
    "ProxyConnectionError": Refusal("the proxy in front of it cannot be reached", "see HTTPS_PROXY and HTTP_PROXY"),
    "NoCredentialsError": Refusal("no credentials for it are set", _CREDENTIALS),
    "PartialCredentialsError": Refusal("half of its credentials are set", _CREDENTIALS),
    "ConnectionClosedError": Refusal("it closed the connection", _REACH),
    "EndpointConnectionError": Refusal("it cannot be reached", _REACH),
}
#: Of a code that a server answered only this is repeated.
_CODE = re.compile(r"[A-Za-z0-9]{1,40}")


def refusal_of(fault: BaseException) -> Refusal:
    """Why a driver failed and what mends it."""
    for one in _chain(fault):
        if (code := _code(one)) is not None:
            return _answered(code, _status(one))
    chain = list(_chain(fault))
    for one in chain:
        if isinstance(one, OSError) and one.errno in _NUMBERS:
            reason, remedy = _NUMBERS[one.errno]
            return Refusal(reason.format(os.strerror(one.errno)), remedy)
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    for name, refusal in _CLASSES.items():
        if name in names:
            return refusal
    if isinstance(fault, OSError) and fault.errno is not None:
        return Refusal(os.strerror(fault.errno), _REACH)
    return Refusal(f"its driver failed ({type(fault).__name__})", "see the log for the error")


def is_absence(fault: FileNotFoundError) -> bool:
    """Whether an object alone is missing; False when its whole bucket is."""
    return all(_code(one) != "NoSuchBucket" for one in _chain(fault))


def _answered(code: str, status: int | None) -> Refusal:
    if code in _CODES:
        return _CODES[code]
    words = [str(word) for word in (status, code) if word is not None and str(word) != "None"]
    return Refusal(f"it answers {' '.join(dict.fromkeys(words))}", "see the store's own log")


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from."""
    seen: set[int] = set()
    one: BaseException | None = fault
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _response(fault: BaseException) -> dict[str, Any]:
    response = getattr(fault, "response", None)
    return response if isinstance(response, dict) else {}


def _code(fault: BaseException) -> str | None:
    error = _response(fault).get("Error")
    code = error.get("Code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def _status(fault: BaseException) -> int | None:
    about = _response(fault).get("ResponseMetadata")
    status = about.get("HTTPStatusCode") if isinstance(about, dict) else None
    return status if isinstance(status, int) else None
