"""Messages to and from the process that decodes: on a stream socket, eight bytes of length, then the message."""

from __future__ import annotations

import socket
from collections.abc import Callable

#: What the decoder's process is asked before each picture: its size, or its pixels too.
SIZE, PIXELS = b"size", b"pixels"
_LENGTH_BYTES = 8
_SMALL = 2**16


def send(line: socket.socket, data: bytes) -> None:
    """Send one message.

    Raises:
        OSError: the other end is closed, or the socket's time is up.
    """
    head = len(data).to_bytes(_LENGTH_BYTES, "big")
    if len(data) <= _SMALL:  # in one piece, which wakes the other end once
        line.sendall(head + data)
    else:
        line.sendall(head)
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
    head = bytearray(_LENGTH_BYTES)
    receive_into(line, memoryview(head), next_wait)
    size = int.from_bytes(head, "big")
    if size > most:
        raise ConnectionAbortedError(f"a message of {size:,} bytes, where at most {most:,} are expected")
    data = bytearray(size)
    receive_into(line, memoryview(data), next_wait)
    return bytes(data)


def receive_into(line: socket.socket, view: memoryview, next_wait: Callable[[], float] | None = None) -> None:
    """Fill ``view`` with the next bytes, as ``receive`` does.

    Raises:
        OSError: the other end is closed, or ``next_wait`` gave up (TimeoutError).
    """
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
