"""Uploads are split into requests that Label Studio can take, and come back in order."""

from __future__ import annotations

import json

import httpx
import pytest

from datagen.label_studio.api.http import Connection
from datagen.label_studio.api.uploads import upload


class Uploads:
    """Numbers what is uploaded, and lists it in another order, as a database may."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.count = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/import"):
            assert request.url.params["commit_to_project"] == "false"
            files = request.read().count(b"Content-Disposition")
            self.requests.append(files)
            self.count += files
            return httpx.Response(201, json={"file_upload_ids": list(range(self.count - files, self.count))})
        if request.url.path.endswith("/file-uploads"):
            ids = json.loads(request.url.params["ids"])
            return httpx.Response(
                200, json=[{"id": upload_id, "file": f"upload/1/{upload_id}.png"} for upload_id in reversed(ids)]
            )
        return httpx.Response(200, json={})


@pytest.mark.parametrize(
    ("sizes", "requests"),
    [
        ([10] * 250, [100, 100, 50]),
        ([30 * 2**20] * 3, [2, 1]),
        ([100 * 2**20, 10], [1, 1]),
        ([], []),
    ],
)
def test_no_request_is_too_large(sizes: list[int], requests: list[int]) -> None:
    server = Uploads()
    at = Connection("http://studio", "a" * 40, transport=httpx.MockTransport(server))
    paths = upload(at, 1, [(f"{n}.png", bytes(size)) for n, size in enumerate(sizes)])
    assert server.requests == requests
    assert paths == [f"/data/upload/1/{n}.png" for n in range(len(sizes))]
