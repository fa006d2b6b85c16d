"""The resource attacks of the attack bench. Each is a loop in a thread of its own until the time is over.

All are sent to loopback addresses of the installation that the bench started. They are limited in number and time."""

from __future__ import annotations

import base64
import http.client
import io
import json
import random
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from datagen.domain.inputs import ProjectKind
from stage.progress import print_line

Json = dict[str, Any]

#: Contents of request lines and headers that the log's redaction once took half a minute for.
REQUEST_LINES = (b"token" * 800, b"eyJ" * 1300, b"a" * 4000, b"://" * 1300, b"password=" * 440)
#: Number of connections that each send a byte a second.
DRIPPING_SOCKETS = 40
#: Number of threads that call /ready.
READINESS_CALLERS = 16
#: Number of random corners of a canvas polygon.
CORNERS = 1000
#: Number of copies of a review task.
COPIES = 4000
#: Number of pictures that take long to decode and then prove damaged, and their side in pixels.
SLOW_PICTURES, SLOW_SIDE = 10, 9000


@dataclass
class Assaults:
    """The attacks, with the number of times that each ran."""

    web: str
    label_studio: httpx.Client
    seconds: float
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.until = time.monotonic() + self.seconds
        host, _, port = self.web.removeprefix("http://").partition(":")
        self._host, self._port = host, int(port)
        self._threads: list[threading.Thread] = []

    @property
    def over(self) -> bool:
        """Whether the time of the attacks is over."""
        return time.monotonic() > self.until

    def start(self, name: str, strike: Callable[[], None], pause: float = 0.0, times: int = 10**9) -> None:
        """Start a thread that runs an attack repeatedly until the time is over, at most ``times`` times.

        ``pause`` is the number of seconds between two attacks.
        """

        def loop() -> None:
            for _ in range(times):
                if self.over:
                    return
                try:
                    strike()
                except (OSError, httpx.HTTPError):
                    self.counts[f"{name} (refused)"] += 1  # being refused is an answer too
                else:
                    self.counts[name] += 1
                time.sleep(min(pause, max(0.0, self.until - time.monotonic())))

        def watched() -> None:
            try:
                loop()
            except BaseException as fault:
                self.faults.append(f"{name}: {fault!r}")
                raise

        thread = threading.Thread(target=watched, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        """Wait until all threads have ended."""
        for thread in self._threads:
            thread.join()

    # -- without a key

    def request_lines(self) -> None:
        """Send invalid request lines with contents that a log must redact."""
        for line in REQUEST_LINES:
            with self._connection() as connection:
                connection.sendall(b"GET /" + line + b" HTTP/9.9\r\n\r\n")
                connection.recv(1000)

    def drip(self) -> None:
        """Hold connections open with requests that do not end; each sends a byte a second."""
        sockets = [self._connection() for _ in range(DRIPPING_SOCKETS)]
        try:
            for number, connection in enumerate(sockets):
                begin = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n"
                connection.sendall(begin + (b"\r\n" if number % 2 else b"X-Slow: "))
            for _ in range(10):
                if self.over:
                    return
                for connection in sockets:
                    connection.sendall(b"x")
                time.sleep(1)
        finally:
            for connection in sockets:
                connection.close()

    def readiness(self) -> None:
        """Request /ready, which checks all parts."""
        self._get("/ready", {})

    def wrong_credentials(self) -> None:
        """Send a guessed password, and a header that is not text."""
        guess = base64.b64encode(f"datagen:guess {random.random()}".encode())  # noqa: S311
        self._get("/versions", {"Authorization": f"Basic {guess.decode()}"})
        with self._connection() as connection:
            connection.sendall(b"GET /versions HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \xff\r\n\r\n")
            connection.recv(1000)

    # -- by a member of Label Studio

    def draw(self, projects: dict[ProjectKind, int]) -> Callable[[], None]:
        """Return an attack that draws, in turn, a canvas polygon with random corners and a brush mask of noise."""
        canvases, concepts = self._tasks(projects[ProjectKind.CANVASES]), self._tasks(projects[ProjectKind.CONCEPTS])
        chance = random.Random(1)  # noqa: S311 -- a seed makes it repeatable

        def strike() -> None:
            points = [[100 * chance.random(), 100 * chance.random()] for _ in range(CORNERS)]
            value = {"points": points, "closed": True, "polygonlabels": ["area"]}
            self._submit(chance.choice(canvases), [_region("canvas", "polygonlabels", value)])
            brush = {"format": "rle", "rle": noise_rle(256, 192), "brushlabels": ["scratch"]}
            self._submit(chance.choice(concepts), [_region("brush", "brushlabels", brush)])

        return strike

    def bring_slow_pictures(self, project: int) -> None:
        """Upload pictures that take seconds to decode and are damaged at their end."""
        data = slow_picture()
        files = {f"slow-{n}.png": (f"slow-{n}.png", data + bytes([n]), "image/png") for n in range(SLOW_PICTURES)}
        self.label_studio.post(f"/api/projects/{project}/import", files=files).raise_for_status()

    def poison(self, project: int) -> None:
        """Create a task whose key is half a surrogate pair.

        Label Studio then answers 500 to each listing of its project.
        """
        body = b'[{"data": {"image": "/none.png", "\\ud800": "x"}}]'
        headers = {"Content-Type": "application/json"}
        self.label_studio.post(f"/api/projects/{project}/import", content=body, headers=headers).raise_for_status()

    def copy(self, project: int) -> None:
        """Copy one review task many times, each copy with a verdict."""
        task = self.label_studio.get(f"/api/tasks/{self._tasks(project)[0]}").raise_for_status().json()
        verdict = {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["bad"]}}
        copied = {"data": task["data"], "annotations": [{"result": [verdict]}]}
        for _ in range(4):
            self.label_studio.post(f"/api/projects/{project}/import", json=[copied] * (COPIES // 4)).raise_for_status()

    def approve_a_million(self, project: int) -> None:
        """Answer the open decision task with an approval of a million images, which is confirmed at once."""
        tasks = self.label_studio.get("/api/tasks", params={"project": project, "fields": "all", "page_size": 100})
        open_ones = [task["id"] for task in tasks.raise_for_status().json()["tasks"] if not task["total_annotations"]]
        if open_ones:
            form = [
                _answer("action", "choices", {"choices": ["approve"]}),
                _answer("count", "number", {"number": 1_000_000}),
                _answer("confirm", "choices", {"choices": ["I have looked"]}),
            ]
            self._submit(max(open_ones), form)

    def cancel(self, project: int) -> None:
        """Cancel the work of every decision task."""
        for task in self._tasks(project):
            self._submit(task, [_answer("action", "choices", {"choices": ["cancel"]})])

    # -- how

    def _get(self, path: str, headers: dict[str, str]) -> None:
        """Send a request with as little work as possible, because the attacks share the machine with their target."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            connection.getresponse().read()
        except http.client.HTTPException as broken:
            raise OSError(str(broken)) from broken
        finally:
            connection.close()

    def _connection(self) -> socket.socket:
        return socket.create_connection((self._host, self._port), timeout=5)

    def _tasks(self, project: int) -> list[int]:
        answer = self.label_studio.get("/api/tasks", params={"project": project, "page_size": 100})
        return [int(task["id"]) for task in answer.raise_for_status().json()["tasks"]]

    def _submit(self, task: int, result: list[Json]) -> None:
        body = {"result": result, "lead_time": 1.0}
        self.label_studio.post(f"/api/tasks/{task}/annotations/", json=body).raise_for_status()


def noise_rle(width: int, height: int) -> list[int]:
    """Return a brush mask of noise in Label Studio's encoding.

    About half of its pixels are painted, in thousands of parts.
    """
    from label_studio_sdk.converter.brush import encode_rle

    painted = np.random.default_rng(1).random((height, width)) < 0.25
    rgba = np.repeat((painted * 255).astype(np.uint8).ravel(), 4)
    return list(encode_rle(rgba))


def slow_picture() -> bytes:
    """Return a PNG of 81 million pixels with a damaged end; it has a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = SLOW_SIDE.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * SLOW_SIDE)
    pixels = b"".join(packer.compress(row) for _ in range(SLOW_SIDE - 1)) + packer.flush()
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels))
    return file.getvalue()


def _region(control: str, kind: str, value: Json) -> Json:
    sizes = {"original_width": 256, "original_height": 192, "image_rotation": 0}
    return {"id": control, "from_name": control, "to_name": "image", "type": kind, "value": value, **sizes}


def _answer(control: str, kind: str, value: Json) -> Json:
    return {"id": control, "from_name": control, "to_name": "summary", "type": kind, "value": value}


def print_counts(counts: Counter[str]) -> None:
    """Print the number of times each attack ran."""
    print_line("attacks: " + json.dumps(dict(sorted(counts.items()))))
