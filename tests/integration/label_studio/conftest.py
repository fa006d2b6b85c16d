"""A client of the suite's real Label Studio, projects of one test's own, and a place where deliveries arrive."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project
from receiver import Delivery, Receiver
from stage import label_studio_server
from stage.label_studio_server import LabelStudio as Server
from stage.processes import Processes

CONFIG = (
    '<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image"><Label value="dent"/>'
    '</PolygonLabels><Choices name="verdict" toName="image"><Choice value="good"/><Choice value="bad"/></Choices>'
    "</View>"
)


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Label Studio with its default SSRF settings."""
    processes = Processes(tmp_path_factory.mktemp("guarded servers"))
    yield label_studio_server.start(processes, tmp_path_factory.mktemp("guarded"), ssrf_protection=True)
    processes.stop_all()


@pytest.fixture
def client(label_studio: Server) -> Iterator[LabelStudio]:
    client = LabelStudio(label_studio.url, label_studio.token)
    yield client
    client.close()


@pytest.fixture
def study_name(client: LabelStudio) -> Iterator[str]:
    """A name that no other test uses; whatever project begins with it is deleted afterwards."""
    name = f"t {uuid.uuid4().hex[:8]}"
    yield name
    for project in client.find_projects(name):
        client.delete_project(project.id)


@pytest.fixture
def project(client: LabelStudio, study_name: str) -> Project:
    return client.create_project(f"{study_name} one", {"label_config": CONFIG})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            with kept.arrived:
                kept.deliveries.append(Delivery(self.path.rstrip("?"), dict(self.headers), body))
                kept.arrived.notify_all()
            content = json.dumps({"status": "UP", "model_version": "datagen", "results": []}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *args: Any) -> None:
            """Write no log line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()
