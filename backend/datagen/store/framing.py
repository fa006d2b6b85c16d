"""Messages on a stream socket: eight bytes of length, then the message."""

from __future__ import annotations

import socket
from collections.abc import Callable

_LENGTH_BYTES = 8


def send(line: socket.socket, data: bytes) -> None:
    """Send one message.

    Raises:
        OSError: the other end is closed, or the socket's time is up.
    """
    line.sendall(len(data).to_bytes(_LENGTH_BYTES, "big"))
    line.sendall(data)


def receive(line: socket.socket, most: int, next_wait: Callable[[], float] | None = None) -> bytes:
    """Receive one message of at most ``most`` bytes.

    Args:
        line: the socket.
        most: bytes; a longer message is not read, and no memory is taken for it.
        next_wait: how long to wait for the next bytes, seconds; called again whenever that time is up, and before each
            read, so that a sender that drips is bounded too. It raises TimeoutError to give up. By default there is
            no bound.

    Raises:
        OSError: the other end is closed, the message is longer, or ``next_wait`` gave up (TimeoutError).
    """
    size = int.from_bytes(_receive_exactly(line, _LENGTH_BYTES, next_wait), "big")
    if size > most:
        raise ConnectionAbortedError(f"a message of {size:,} bytes, where at most {most:,} are expected")
    return _receive_exactly(line, size, next_wait)


def _receive_exactly(line: socket.socket, size: int, next_wait: Callable[[], float] | None) -> bytes:
    data = bytearray(size)
    view = memoryview(data)
    while len(view):
        if next_wait is not None:
            line.settimeout(next_wait())
        try:
            count = line.recv_into(view)
        except TimeoutError:
            continue
        if not count:
            raise ConnectionResetError("the other end is closed")
        view = view[count:]
    return bytes(data)
