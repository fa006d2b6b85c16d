"""Causes and remedies of the errors that storage drivers raise, in words that name no bucket, endpoint or path.

Drivers raise errors of packages that are not installed everywhere (botocore, aiohttp), so errors are recognized by the
names of their classes, by their error number, and by the error code that an S3 server returned.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """The cause of a failure and its remedy for the user."""

    reason: str
    remedy: str


#: The setting with the URL of the image store, which the remedies name.
STORE_SETTING = "DATAGEN_STORE_URL"

_REACH = f"see that it runs, and that {STORE_SETTING} (for S3 also AWS_ENDPOINT_URL) leads to it"
_RIGHTS = "give Datagen's user or credentials the right to read, write, list and delete there"
_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to credentials that the store accepts"
_ROOM = "make room in it"

#: The store accepted a connection or a call and did not answer in time.
TOO_LATE = Refusal("it did not answer in time", _REACH)
#: The store was not called, because no thread could be started for the call.
NO_THREAD = Refusal(
    "this machine can start no more threads", "stop what uses too many of them, or raise the limit on threads"
)
#: Refusals by error code of S3 servers.
_CODES = {
    "NoSuchBucket": Refusal(
        "its bucket does not exist", f"create the bucket, or set {STORE_SETTING} to one that exists"
    ),
    "InvalidBucketName": Refusal("its bucket's name is not valid", f"set {STORE_SETTING} to a bucket that exists"),
    "AccessDenied": Refusal("access is denied", _RIGHTS),
    "AllAccessDisabled": Refusal("access is denied", _RIGHTS),
    # the answer to a HEAD request, which has no body and so no error code
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
#: Refusals by error number of the operating system.
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
    errno.ENOTDIR: Refusal("a file is in the place of its folder ({})", f"set {STORE_SETTING} to a folder"),
    errno.EMFILE: Refusal("this process has too many open files ({})", "raise its limit of open files"),
}
#: Refusals by class name of botocore's, aiohttp's and Python's errors; subclasses first.
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
#: Format of an error code; a server's code in another format is ignored.
_CODE = re.compile(r"[A-Za-z0-9]{1,40}")


def refusal_of(fault: BaseException, setting: str = STORE_SETTING) -> Refusal:
    """Return the cause and the remedy of a driver's error; ``setting`` names the setting or option with the URL."""
    refusal = _refusal_of(fault)
    return refusal._replace(remedy=refusal.remedy.replace(STORE_SETTING, setting))


def _refusal_of(fault: BaseException) -> Refusal:
    for error in _chain(fault):
        if (code := _code(error)) is not None:
            return _refusal_of_code(code, _status(error))
    chain = list(_chain(fault))
    for error in chain:
        if isinstance(error, OSError) and error.errno in _NUMBERS:
            reason, remedy = _NUMBERS[error.errno]
            return Refusal(reason.format(os.strerror(error.errno)), remedy)
    names = {kind.__name__ for error in chain for kind in type(error).__mro__}
    for name, refusal in _CLASSES.items():
        if name in names:
            return refusal
    if isinstance(fault, OSError) and fault.errno is not None:
        return Refusal(os.strerror(fault.errno), _REACH)
    return Refusal(f"its driver failed ({type(fault).__name__})", "see the log for the error")


def is_absence(fault: FileNotFoundError) -> bool:
    """Return True if only an object is missing, and False if its whole bucket is missing."""
    return all(_code(error) != "NoSuchBucket" for error in _chain(fault))


def _refusal_of_code(code: str, status: int | None) -> Refusal:
    if code in _CODES:
        return _CODES[code]
    words = [str(word) for word in (status, code) if word is not None and str(word) != "None"]
    return Refusal(f"it answers {' '.join(dict.fromkeys(words))}", "see the store's own log")


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """Yield the error, then each error in its chain of ``__cause__`` and ``__context__``."""
    seen: set[int] = set()
    error: BaseException | None = fault
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _response(fault: BaseException) -> dict[str, Any]:
    response = getattr(fault, "response", None)
    return response if isinstance(response, dict) else {}


def _code(fault: BaseException) -> str | None:
    error = _response(fault).get("Error")
    code = error.get("Code") if isinstance(error, dict) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def _status(fault: BaseException) -> int | None:
    metadata = _response(fault).get("ResponseMetadata")
    status = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
    return status if isinstance(status, int) else None
