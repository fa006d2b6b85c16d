"""Messages to and from the decoder process on a stream socket. A message is preceded by its length in eight bytes."""

from __future__ import annotations

import socket
from collections.abc import Callable

#: Requests to the decoder process. One precedes each picture: for its size, or for its size and pixels.
SIZE, PIXELS = b"size", b"pixels"
_LENGTH_BYTES = 8
_SMALL = 2**16


def send(line: socket.socket, data: bytes) -> None:
    """Send one message.

    Raises:
        OSError: the other end is closed, or the socket timed out.
    """
    head = len(data).to_bytes(_LENGTH_BYTES, "big")
    if len(data) <= _SMALL:  # in one call, which wakes the receiver only once
        line.sendall(head + data)
    else:
        line.sendall(head)
        line.sendall(data)


def receive(line: socket.socket, most: int, next_wait: Callable[[], float] | None = None) -> bytes:
    """Receive one message of at most ``most`` bytes and return it.

    Args:
        line: the socket.
        most: largest accepted message in bytes. A longer one is not read, and no memory is allocated for it.
        next_wait: returns the seconds to wait for the next bytes. It is called before each read and after each
            time-out, so that a sender of single bytes is limited too. It raises TimeoutError to end the wait. If it is
            None, there is no time-out.

    Raises:
        OSError: the other end is closed, the message is longer, or ``next_wait`` raised TimeoutError.
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
    """Fill ``view`` with the next bytes from the socket; ``next_wait`` is as for ``receive``.

    Raises:
        OSError: the other end is closed, or ``next_wait`` raised TimeoutError.
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
