"""An S3 server (moto, on the loopback address) behind a gateway that can refuse connections, hang, or answer errors.

It needs the extra ``s3``. A test module that uses it must call ``pytest.importorskip`` first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import escape

from stage.gateway import Answer, Forward, Gateway, Passing, untouched

#: Credentials in the environment of the server's clients.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "pictures"


class S3:
    """The server. Its address does not change."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._gateway: Gateway | None = Gateway(upstream)
        self.url = self._gateway.url
        self._thawed = threading.Event()
        self.requests = 0

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment variables that a process needs to use the server."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": self.url}

    def refuse(self) -> None:
        """Refuse all connections from now on."""
        self._open(None)
        assert self._gateway is not None
        self._gateway.close()
        self._gateway = None

    @property
    def is_refusing(self) -> bool:
        """Return whether connections are refused."""
        return self._gateway is None

    def freeze(self) -> None:
        """Accept connections, but answer nothing from now on."""
        self._thawed.clear()

        def frozen(_passing: Passing, _forward: Forward) -> Answer | None:
            self.requests += 1
            self._thawed.wait()
            return None

        self._open(frozen)

    def answer(self, status: int, code: str) -> None:
        """Answer every request with an error from now on."""
        error = f"<Error><Code>{escape(code)}</Code><Message>{BUCKET} at {self.url} says no</Message></Error>"
        headers = (("Content-Type", "application/xml"),)

        def refused(_passing: Passing, _forward: Forward) -> Answer | None:
            self.requests += 1
            return Answer(status, headers, error.encode())

        self._open(refused)

    def serve(self) -> None:
        """Answer requests normally again."""
        self._open(None)

    def close(self) -> None:
        """Stop listening."""
        self.refuse()

    def _open(self, meddler: Any) -> None:
        if self._gateway is None:
            self._gateway = Gateway(self._upstream, port=urlsplit(self.url).port or 0)
        self._gateway.meddler = meddler or untouched
        self.requests = 0
        if meddler is None or meddler.__name__ != "frozen":
            self._thawed.set()


@contextmanager
def s3_server() -> Iterator[S3]:
    """Context manager of a server with an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line for each request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    upstream = f"http://{host}:{port}"
    boto3.client(
        "s3",
        endpoint_url=upstream,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    ).create_bucket(Bucket=BUCKET)
    s3 = S3(upstream)
    try:
        yield s3
    finally:
        s3.close()
        server.stop()
