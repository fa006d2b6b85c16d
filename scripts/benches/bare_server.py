"""A server without content: its response times show the capacity that the machine has left for a measured server."""

from __future__ import annotations

import sys

from stage.ports import free_port, is_open
from stage.processes import Processes

#: Maximum seconds for its start.
START_WITHIN_S = 120.0
_PROGRAM = """
import waitress
def answer(environ, start):
    environ['wsgi.input'].read()
    is_post = environ['REQUEST_METHOD'] == 'POST'
    body = b'' if is_post else b'<!doctype html><title>page</title><p>A page.</p>'
    start('201 Created' if is_post else '200 OK', [('Content-Length', str(len(body)))])
    return [body]
waitress.serve(answer, host='127.0.0.1', port={port})
"""


def start(processes: Processes) -> str:
    """Start a server that answers GET with a trivial page and POST with “created”; return its host and port."""
    port = free_port()
    command = [sys.executable, "-c", _PROGRAM.format(port=port)]
    processes.start("bare", command, ready=lambda: is_open(port), within=START_WITHIN_S)
    return f"127.0.0.1:{port}"
