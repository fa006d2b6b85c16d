"""Clients that send, read or ask so that others would have to wait: webhooks and health are answered all the while.

Each attack is bounded in number and runs over loopback against a web process of its own.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from raw_http import answers, ask, get, read_all
from stage.ports import free_port
from stage.processes import Processes, wait_until
from studio import UNKNOWN_PROJECT, Studio, start_web

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

#: More than the web process has threads of any kind.
MANY = 40
#: Requests timed before and during an attack.
ASKED = 15


@dataclass(frozen=True, slots=True)
class Web:
    """A web process under attack."""

    port: int
    secret: str
    log: Path

    def health(self) -> int:
        return httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=30).status_code

    def webhook(self) -> int:
        moment = uuid.uuid4().hex
        event = {"action": "ATTACK", "project": {"id": UNKNOWN_PROJECT}, "task": {"id": 1, "updated_at": moment}}
        headers = {"X-Datagen-Secret": self.secret}
        return httpx.post(f"http://127.0.0.1:{self.port}/webhook", json=event, headers=headers, timeout=30).status_code

    def seconds(self) -> float:
        """Median seconds of a webhook and a health check together."""
        took = []
        for _ in range(ASKED):
            began = time.perf_counter()
            assert (self.webhook(), self.health()) == (201, 200)
            took.append(time.perf_counter() - began)
        return statistics.median(took)

    def line(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture
def start(studio: Studio, processes: Processes, tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Start a web process with these settings besides the studio's."""
    started = []

    def run(**settings: str) -> Web:
        environment = {**studio.environment, "PORT": str(free_port()), **settings}
        started.append(start_web(processes, environment, tmp_path))
        return Web(int(environment["PORT"]), studio.settings.secret_of_webhooks, Path(started[-1].log))

    yield run
    for process in started:
        processes.stop(process)
    studio.settle()


#: What a test makes smaller in the web process, to reach a bound with little: read before ``datagen.web`` is used.
SMALLER = """
from datagen.web import buffering
for name, value in {values}.items():
    setattr(buffering, name, value)
from datagen.web.worker import BufferingWorker
"""


@pytest.fixture
def start_smaller(studio: Studio, processes: Processes, tmp_path: Path) -> Iterator[Callable[..., Web]]:
    """Start a web process with smaller bounds, else as ``datagen web`` has it."""
    started = []

    def run(**values: float) -> Web:
        port = free_port()
        (tmp_path / "smaller.py").write_text(SMALLER.format(values=values))
        argv = [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "python:datagen.web.gunicorn_config",
            "-k",
            "smaller.BufferingWorker",
        ]
        argv += ["--bind", f"127.0.0.1:{port}", "datagen.web.app:create_app()"]
        environment = {**studio.environment, "PORT": str(port), "DATAGEN_MAX_WEBHOOK_BYTES": "10000000"}
        web = Web(port, studio.settings.secret_of_webhooks, tmp_path)

        def is_up() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return web.health() == 200
            return False

        environment["PYTHONPATH"] = f"{tmp_path}:{':'.join(path for path in sys.path if path)}"
        started.append(processes.start(f"web-{port}", argv, env=environment, cwd=tmp_path, ready=is_up, within=60))
        return web

    yield run
    for process in started:
        processes.stop(process)
    studio.settle()


DRIPS = {
    "head": b"GET /health HTTP/1.1\r\nX-Slow: ",
    "body": b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{",
}


@pytest.mark.parametrize("begin", DRIPS.values(), ids=DRIPS)
def test_requests_that_drip_hold_no_thread(begin: bytes, start: Callable[..., Web]) -> None:
    web = start()
    before = web.seconds()
    over = threading.Event()
    with contextlib.ExitStack() as open_lines:
        lines = [open_lines.enter_context(web.line()) for _ in range(MANY)]

        def drip() -> None:
            while not over.wait(0.02):
                for line in lines:
                    line.sendall(b"x")

        for line in lines:
            line.sendall(begin)
        dripper = threading.Thread(target=drip)
        dripper.start()
        try:
            during = web.seconds()
        finally:
            over.set()
            dripper.join()
        for line in lines:  # none was cut: they were all there
            line.sendall(b"x")
            line.setblocking(False)
            with pytest.raises(BlockingIOError):
                line.recv(1)
    assert during < 5 * max(before, 0.01)


def test_a_request_that_drips_is_cut_after_its_time(start_smaller: Callable[..., Web]) -> None:
    web = start_smaller(REQUEST_SECONDS=1.0)
    for begin in DRIPS.values():
        with web.line() as line:
            line.sendall(begin)

            def is_cut(line: socket.socket = line) -> bool:
                try:
                    line.sendall(b"x")
                except ConnectionError:
                    return True
                return False

            wait_until(is_cut, 20, "the end of a request that drips")


def test_a_client_that_does_not_read_its_answer_is_cut_after_its_time(
    start_smaller: Callable[..., Web], studio: Studio
) -> None:
    web = start_smaller(ANSWER_SECONDS=1.0)
    link = studio.services.links.make(studio.services.images.put(b"x" * 20_000_000))  # more than sockets buffer
    with web.line() as line:
        line.sendall(get(link.partition(f":{studio.settings.port}")[2]))
        time.sleep(4)  # a client that does not read
        assert 0 < len(read_all(line)) < 20_000_000
    assert web.health() == 200


def test_connections_over_the_bound_take_the_place_of_the_slowest(start_smaller: Callable[..., Web]) -> None:
    web = start_smaller(MAX_CONNECTIONS=20)
    with contextlib.ExitStack() as open_lines:
        lines = [open_lines.enter_context(web.line()) for _ in range(MANY)]
        for line in lines:
            line.sendall(DRIPS["head"])
        assert web.webhook() == 201
        lines[0].settimeout(20)
        assert read_all(lines[0]) == b""  # the oldest was cut


def test_bodies_that_are_not_finished_fill_neither_memory_nor_disk(start_smaller: Callable[..., Web]) -> None:
    web = start_smaller(MAX_BUFFERED=8 * 2**20)
    with contextlib.ExitStack() as open_lines:
        lines = [open_lines.enter_context(web.line()) for _ in range(8)]
        for line in lines:
            with contextlib.suppress(ConnectionError):
                line.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 3 * 2**20)
            assert web.webhook() == 201

        def cut() -> int:
            gone = 0
            for line in lines:
                line.setblocking(False)
                try:
                    gone += line.recv(1) == b""
                except BlockingIOError:
                    continue
                except ConnectionError:
                    gone += 1
            return gone

        wait_until(lambda: cut() >= 8 - 8 // 3, 20, "the end of the largest requests")


def test_of_requests_sent_at_once_only_the_first_is_answered(start: Callable[..., Web]) -> None:
    web = start()
    assert [answer.status for answer in ask(web.port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 50)] == [200]


@contextlib.contextmanager
def frozen() -> Iterator[str]:
    """The address of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_callers_of_ready_do_not_wait_for_a_label_studio_that_hangs(start: Callable[..., Web]) -> None:
    with frozen() as address:
        web = start(LABEL_STUDIO_URL=f"http://{address}")
        before = web.seconds()
        over = threading.Event()

        def ask_ready() -> set[int]:
            statuses = set()
            with httpx.Client(base_url=f"http://127.0.0.1:{web.port}", timeout=30) as caller:
                while not over.wait(0.05):
                    statuses.add(caller.get("/ready").status_code)
            return statuses

        with ThreadPoolExecutor(16) as callers:
            asking = [callers.submit(ask_ready) for _ in range(16)]
            try:
                during = web.seconds()
            finally:
                over.set()
        assert set().union(*(request.result() for request in asking)) == {503}
        assert during < 8 * max(before, 0.01)

        def parts() -> dict[str, bool]:
            known: dict[str, bool] = httpx.get(f"http://127.0.0.1:{web.port}/ready", timeout=30).json()["parts"]
            return known

        wait_until(lambda: parts().get("label_studio") is False, 20, "the look at a Label Studio that hangs")
        assert parts()["database"] is True


def test_ready_names_a_database_that_hangs(start: Callable[..., Web]) -> None:
    with frozen() as address:
        web = start(DATAGEN_DATABASE_URL=f"postgresql+psycopg://nobody@{address}/none")

        def ready() -> httpx.Response:
            return httpx.get(f"http://127.0.0.1:{web.port}/ready", timeout=30)

        wait_until(lambda: bool(ready().json()["parts"]), 20, "the first look")
        assert (ready().status_code, ready().json()["ready"]) == (503, False)
        assert ready().json()["parts"]["database"] is False
        assert web.health() == 200


def test_pictures_of_a_store_that_hangs_leave_webhooks_and_health_alone(
    start: Callable[..., Web], studio: Studio
) -> None:
    with frozen() as address, ThreadPoolExecutor(80) as people:
        web = start(
            DATAGEN_STORE_URL="s3://bucket/pictures",
            AWS_ENDPOINT_URL=f"http://{address}",
            AWS_ACCESS_KEY_ID="a",
            AWS_SECRET_ACCESS_KEY="b",
        )
        before = web.seconds()
        link = studio.services.links.make("a" * 64).partition(f":{studio.settings.port}")[2]
        lines = [web.line() for _ in range(80)]
        try:
            for line in lines:
                line.sendall(get(link))
            refused = 80 - 6 - 48  # what neither has a thread nor may wait
            heard = [people.submit(read_all, line) for line in lines]
            wait_until(
                lambda: sum(request.done() for request in heard) >= refused, 20, "the refusal of what may not wait"
            )
            during = web.seconds()
            [busy] = answers(next(request for request in heard if request.done()).result())
            assert (busy.status, busy.json()) == (503, {"error": "service unavailable"})
            assert busy.headers["retry-after"] == "1"
        finally:
            for line in lines:
                with contextlib.suppress(OSError):
                    line.shutdown(socket.SHUT_RDWR)
                line.close()
        assert during < 5 * max(before, 0.01)


def test_refused_requests_are_logged_without_their_content(start: Callable[..., Web]) -> None:
    web = start()
    for _ in range(5):
        ask(web.port, b"GET /secretive" + b"token" * 800 + b" HTTP/9.9\r\nX-Odd: secretive\r\n\r\n")
        ask(web.port, b"secretive\r\n\r\n")
    assert web.webhook() == 201
    written = web.log.read_text()
    assert written.count("requests.refused") == 1
    assert "secretive" not in written
    assert "tokentoken" not in written
