"""Downloads and streams as a browser gets them: through the web process, from the process of the pages."""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from benches.page_rows import add_batch, add_version
from datagen.domain.lifecycle import StudyState
from datagen.store.tables.base import BatchKind, HandoverKind, WorkState, now
from datagen.store.tables.handovers import HandoverRow
from datagen.web.download_sending import MAX_SENT_TO_ACCOUNT
from datagen.web.view_pools import POOLS
from datagen.workflow.handovers.expiry import KEPT
from datagen.workflow.handovers.requests import request_download
from datagen.workflow.handovers.wishes import DownloadWish
from stage.processes import Processes, wait_until
from studio import Studio

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

WITHIN_S = 60.0
#: Bytes of a file that is larger than all buffers between the store and a client.
LARGE = 300 * 2**20


@pytest.fixture
def browser(studio: Studio) -> Iterator[httpx.Client]:
    """A browser in which the user of Label Studio has logged in."""
    with httpx.Client(base_url=studio.settings.own_url, timeout=30) as client:
        wait_until(lambda: client.get("/studio/log-in").status_code == 200, WITHIN_S, "the pages", every=0.2)
        token = re.search(r'name="form_token" value="(\w+)"', client.get("/studio/log-in").text)
        assert token is not None
        form = {"form_token": token[1], "email": studio.server.email, "password": studio.server.password}
        assert client.post("/studio/log-in", data=form).status_code == 303
        yield client


@pytest.fixture(scope="module")
def study_id(whole_studio: Studio) -> int:
    """A study with a run; no worker renders it."""
    study = whole_studio.open_study(inputs=False)
    with whole_studio.services.database.write() as session:
        run = add_batch(session, add_version(session, study.id, 1, {}), BatchKind.RUN, 1, 20)
        run.state = WorkState.RUNNING
    return study.id


@pytest.fixture(scope="module")
def large(whole_studio: Studio, study_id: int) -> Iterator[tuple[str, Path]]:
    """The address of a large download, and its file in the store."""
    name = secrets.token_hex(16) + ".zip"
    path = Path(whole_studio.services.download_files.place(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    block = secrets.token_bytes(2**20)
    with path.open("wb") as file:
        for number in range(LARGE // len(block)):
            file.write(number.to_bytes(4, "big") + block[4:])
    with whole_studio.services.database.write() as session:
        row = HandoverRow(
            study_id=study_id,
            kind=HandoverKind.DOWNLOAD,
            state=WorkState.DONE,
            wish=DownloadWish(run=1).to_json(),
            requested_by="ann",
            file=name,
            bytes=LARGE,
            expires_at=now() + KEPT,
            finished_at=now(),
        )
        session.add(row)
        session.flush()
        address = f"/studio/downloads/{study_id}/{row.id}"
    yield address, path
    path.unlink()


def line_to(studio: Studio, browser: httpx.Client, path: str) -> socket.socket:
    """A connection on which the request was sent, and nothing of the response was read."""
    line = socket.create_connection(("127.0.0.1", studio.settings.port), timeout=30)
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\n\r\n".encode())
    return line


def memory_of(processes: Processes) -> int:
    """The memory of the web processes and all that they started, bytes."""
    total = 0
    for noted in processes.noted():
        if noted.name.startswith("web-"):
            parent = psutil.Process(noted.pid)
            total += sum(each.memory_info().rss for each in [parent, *parent.children(recursive=True)])
    return total


def test_an_interrupted_download_goes_on_and_is_whole_at_the_end(
    browser: httpx.Client, large: tuple[str, Path]
) -> None:
    address, path = large
    got = bytearray()
    with browser.stream("GET", address) as answer:
        assert answer.headers["Content-Length"] == str(LARGE)
        etag = answer.headers["ETag"]
        for piece in answer.iter_bytes(2**20):
            got += piece
            if len(got) > 50 * 2**20:
                break
    headers = {"Range": f"bytes={len(got)}-", "If-Range": etag}
    with browser.stream("GET", address, headers=headers) as answer:
        assert answer.status_code == 206
        for piece in answer.iter_bytes(2**20):
            got += piece
    assert got == path.read_bytes()


def test_a_large_file_is_never_in_memory_and_its_readers_keep_no_webhook_waiting(
    browser: httpx.Client, studio: Studio, processes: Processes, large: tuple[str, Path]
) -> None:
    address, _ = large
    before = memory_of(processes)
    with ExitStack() as lines:
        for _ in range(MAX_SENT_TO_ACCOUNT):  # they read nothing
            lines.enter_context(line_to(studio, browser, address))
        times = []
        for _ in range(50):
            began = time.monotonic()
            assert browser.post("/webhook", content=b"{}").status_code == 401
            times.append(time.monotonic() - began)
        assert sorted(times)[-3] < 1.0
        assert browser.get("/studio/").status_code == 200
        assert memory_of(processes) - before < 60 * 2**20


def test_open_pages_of_runs_take_no_thread_of_pages_and_one_too_many_is_told_at_once(
    browser: httpx.Client, studio: Studio, study_id: int
) -> None:
    path = f"/studio/streams/{study_id}/run/1"
    with ExitStack() as lines:
        opened = [lines.enter_context(line_to(studio, browser, path)) for _ in range(POOLS["streams"].threads)]
        for line in opened:
            head = b""
            while b"data: " not in head:
                head += line.recv(4096)
            assert b" 200 " in head.split(b"\r\n")[0]
            assert b"text/event-stream" in head
        assert browser.get(path).status_code == 503
        assert browser.get(f"/studio/studies/{study_id}/run/1/live").json()["live"] is True
        assert browser.get("/studio/").status_code == 200


def test_a_download_is_made_by_a_worker_and_sent(browser: httpx.Client, studio: Studio) -> None:
    study = studio.open_study()
    studio.settle()
    study.decide("build preview")
    study.decide("approve", count=3)
    assert study.row().state is StudyState.ACCEPTED
    handover_id = request_download(studio.services, study.id, DownloadWish(run=1, formats=("coco", "voc")), "ann")
    studio.settle()
    with studio.rows() as session:
        row = session.get_one(HandoverRow, handover_id)
        assert (row.state, row.done, row.error) == (WorkState.DONE, 3, "")
    answer = browser.get(f"/studio/downloads/{study.id}/{handover_id}")
    assert answer.status_code == 200
    assert len(answer.content) == row.bytes
    assert answer.headers["Content-Type"] == "application/zip"
    headers = {"Authorization": f"Bearer {studio.server.token}", "Range": "bytes=0-99"}
    path = f"{studio.settings.own_url}/api/v1/downloads/{study.id}/{handover_id}"
    of_api = httpx.get(path, headers=headers, timeout=30)
    assert (of_api.status_code, of_api.content) == (206, answer.content[:100])
