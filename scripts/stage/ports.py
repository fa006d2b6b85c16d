"""Free TCP ports on the loopback address."""

from __future__ import annotations

import socket

_given: set[int] = set()


def free_port() -> int:
    """A port without a listener now, and that this process has not been given before.

    Another program may still take it before it is used: whoever starts a server on it checks that it is the own
    server that answers there.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


def is_open(port: int) -> bool:
    """Return whether a process accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0
