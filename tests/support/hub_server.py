"""A hub on this machine: the part of its protocol that the hub's own client uses to fetch a repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

#: The commit of the repository owner/name.
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Answers(BaseHTTPRequestHandler):
    """A hub's protocol: the facts of a repository, and its files with commit and digest."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body):
        folder = self.server.folder
        path = self.path.split("?")[0]
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        if path == f"/api/models/owner/name/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": str(p.relative_to(folder)), "size": p.stat().st_size, "oid": "0" * 40}
                for p in files
            ]
            content = json.dumps(tree).encode()
        elif path.startswith("/api/models/owner/name"):
            names = [{"rfilename": str(p.relative_to(folder))} for p in files]
            content = json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": names}).encode()
        else:
            file = folder / path.partition("/resolve/")[2].partition("/")[2]
            if not path.startswith("/owner/name/") or not file.is_file():
                missing = "EntryNotFound" if path.startswith("/owner/name/") else "RepoNotFound"
                self.send_response(404)
                self.send_header("X-Error-Code", missing)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = file.read_bytes()
        self.server.asked.append((self.command, path))
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextmanager
def serving(folder: Path, cache: Path, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    """A hub that holds ``folder`` as owner/name, with an empty ``cache``; ``asked`` has its requests."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.folder, server.asked = folder, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
