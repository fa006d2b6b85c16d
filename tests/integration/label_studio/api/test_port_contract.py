"""The client and a real Label Studio keep the contract of the port, which the in-memory fake copies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.port import LabelStudioPort
from datagen.label_studio.api.webhook_payload import ACTIONS
from port_contract import GOOD, PortContract, World, drafts
from receiver import Receiver
from second_person import sign_up
from stage.label_studio_server import LabelStudio as Server
from stage.ports import free_port

pytestmark = pytest.mark.integration

#: A personal access token of another server.
ELSEWHERE = "e30.eyJ0b2tlbl90eXBlIjogInJlZnJlc2giLCAiZXhwIjogOTk5OTk5OTk5OX0.signature"


class RealWorld(World):
    """A real server, and an HTTP server that receives its webhooks."""

    def __init__(
        self,
        server: Server,
        guarded: Callable[[], Server],
        client: LabelStudio,
        receiver: Receiver,
        prefix: str,
        opened: ExitStack,
    ) -> None:
        self.client, self.email, self.prefix = client, server.email, prefix
        self.receiver_url, self.closed_url = receiver.url, f"http://127.0.0.1:{free_port()}"
        self._server, self._guarded, self._receiver, self._opened = server, guarded, receiver, opened
        headers = {"Authorization": f"Token {server.token}"}
        self._http = opened.enter_context(httpx.Client(base_url=server.url, headers=headers, timeout=60))

    @property
    def events(self) -> list[tuple[Mapping[str, str], Mapping[str, Any]]]:
        return [
            (delivery.headers, delivery.body) for delivery in self._receiver.deliveries if "action" in delivery.body
        ]

    def import_json(self, project_id: int, text: str) -> list[int]:
        answer = self._http.post(
            f"/api/projects/{project_id}/import",
            params={"return_task_ids": "true"},
            content=text,
            headers={"Content-Type": "application/json"},
        )
        return [int(task_id) for task_id in answer.raise_for_status().json()["task_ids"]]

    def edit_annotation(self, annotation_id: int, *, was_cancelled: bool) -> None:
        path = f"/api/annotations/{annotation_id}/"
        self._http.patch(path, json={"was_cancelled": was_cancelled}).raise_for_status()

    def colleague(self) -> tuple[int, str]:
        with closing(httpx.Client(base_url=self._server.url, timeout=60)) as http:
            token = sign_up(self._server).token
            who = http.get("/api/current-user/whoami", headers={"Authorization": f"Token {token}"})
        return who.raise_for_status().json()["id"], who.json()["email"]

    def export_tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        params = {"exportType": "JSON", "download_all_tasks": "true", "ids[]": list(task_ids)}
        answer = self._http.get(f"/api/projects/{project_id}/export", params=params)
        by_id = {task["id"]: task for task in answer.raise_for_status().json()}
        return [by_id[task_id] for task_id in task_ids]

    def start_training(self, project_id: int) -> None:
        [backend] = self.client.backends(project_id)
        self._http.post(f"/api/ml/{backend.id}/train", json={}).raise_for_status()

    def _client(self, url: str, token: str) -> LabelStudio:
        return self._opened.enter_context(closing(LabelStudio(url, token, read_attempts=1)))

    def stranger(self, kind: TokenKind) -> LabelStudioPort:
        return self._client(self._server.url, "0" * 40 if kind is TokenKind.LEGACY else ELSEWHERE)

    def unreachable(self) -> LabelStudioPort:
        return self._client(self.closed_url, self._server.token)

    def refusing(self) -> tuple[LabelStudioPort, str]:
        guarded = self._guarded()
        return self._client(guarded.url, guarded.token), self.receiver_url


class TestRealLabelStudio(PortContract):
    """The suite on the real server."""

    @pytest.fixture
    def world(
        self,
        request: pytest.FixtureRequest,
        label_studio: Server,
        client: LabelStudio,
        receiver: Receiver,
        study_name: str,
    ) -> Iterator[World]:
        def guarded() -> Server:
            return request.getfixturevalue("guarded")

        with ExitStack() as opened:
            yield RealWorld(label_studio, guarded, client, receiver, study_name, opened)


@pytest.fixture
def hanging() -> Iterator[str]:
    """The address of a server that accepts requests and answers none until the test ends."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            ended.wait(60)

        def log_message(self, *args: Any) -> None:
            """Write no log line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    ended.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_receiver_that_hangs_delays_an_annotation_by_a_second(client: LabelStudio, project: Any, hanging: str) -> None:
    [task_id] = client.import_tasks(project.id, drafts(1))
    client.create_webhook(project.id, hanging, {}, ACTIONS)
    began = time.monotonic()
    client.annotate(task_id, [GOOD])
    assert 0.9 < time.monotonic() - began < 5
    assert client.task(task_id).newest is not None
