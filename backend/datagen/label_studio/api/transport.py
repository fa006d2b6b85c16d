"""The wire to Label Studio: its name is resolved, the address is checked, and that very address is connected to.

Nothing is resolved between the check and the connection, so a name server that changes its mind (DNS rebinding) gains
nothing. No proxy of the environment is used: the token goes to Label Studio alone. A ``deadline`` bounds an exchange as
a whole, however slowly its bytes drip; a read's own time-out begins anew with every byte.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

import httpcore
import httpx

Address = IPv4Address | IPv6Address
#: Host and port → addresses, as the name server gives them.
Resolver = Callable[[str, int], list[Address]]

#: Where clouds serve a machine's own credentials, beside what is link-local.
_METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
#: Linux's option for acknowledging at once; None elsewhere.
_QUICK: int | None = getattr(socket, "TCP_QUICKACK", None)
#: A read that another thread may cancel looks after so many seconds whether it was.
_CANCEL_SECONDS = 0.2


class _Deadline(NamedTuple):
    """When the exchange under way must be over, by ``time.monotonic``, or at once when ``cancelled`` is set."""

    until: float
    cancelled: threading.Event | None


_deadline: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


class Reach(StrEnum):
    """How far away an address is."""

    MACHINE = "this machine"
    NETWORK = "the local network"
    WORLD = "the internet"


@contextmanager
def deadline(seconds: float, cancelled: threading.Event | None = None) -> Iterator[None]:
    """Whatever is read and written in here by this thread ends within ``seconds``, with a time-out of httpx's.

    ``cancelled`` lets another thread end it at once.
    """
    token = _deadline.set(_Deadline(time.monotonic() + seconds, cancelled))
    try:
        yield
    finally:
        _deadline.reset(token)


def is_over() -> bool:
    """Whether the deadline around has passed, or what it bounds was cancelled."""
    current = _deadline.get()
    return current is not None and (time.monotonic() >= current.until or _is_cancelled())


def _is_cancelled() -> bool:
    current = _deadline.get()
    return current is not None and current.cancelled is not None and current.cancelled.is_set()


def resolved(host: str, port: int) -> list[Address]:
    """What the system's resolver says."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


class AddressPolicy:
    """Which addresses a host may have.

    None that is link-local, multicast, unspecified or a cloud's metadata service, unless the host was given as that
    address. And a name that meant the internet at first may not come to mean this machine or the local network, nor
    the other way round: what the name first meant is kept for the life of the process.
    """

    def __init__(self, resolve: Resolver = resolved) -> None:
        self._resolve = resolve
        self._first: dict[str, frozenset[Reach]] = {}

    def addresses(self, host: str, port: int) -> list[Address]:
        """The addresses that may be connected to, in the resolver's order.

        Raises:
            httpcore.ConnectError: the name is unknown, or means nothing that may be connected to; says which.
        """
        try:
            return [ip_address(host)]  # given as an address: nothing was resolved
        except ValueError:
            pass
        try:
            found = self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} is not known ({error})") from error
        decent = [one for one in found if not _forbidden(one)]
        if not decent:
            raise httpcore.ConnectError(f"{host} means {_listed(found)}, which nothing is fetched from")
        first = self._first.setdefault(host, frozenset(map(_reach, decent)))
        same = [one for one in decent if _reach(one) in first]
        if not same:
            raise httpcore.ConnectError(
                f"{host} now means {_listed(decent)}, and meant {' and '.join(sorted(first))} before; "
                "if that is right, start this process again"
            )
        return same


def _plain(address: Address) -> Address:
    """An IPv4 address dressed as IPv6 is the IPv4 address."""
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _forbidden(address: Address) -> bool:
    plain = _plain(address)
    return plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain in _METADATA


def _reach(address: Address) -> Reach:
    plain = _plain(address)
    if plain.is_loopback:
        return Reach.MACHINE
    return Reach.WORLD if plain.is_global else Reach.NETWORK


def _listed(addresses: Iterable[Address]) -> str:
    return ", ".join(map(str, addresses)) or "nothing"


class Wire(httpx.BaseTransport):
    """httpx's transport over httpcore's pool, with connections that ``pin`` allows."""

    def __init__(self, pin: AddressPolicy) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_Backend(pin),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; httpx calls this."""
        assert isinstance(request.stream, httpx.SyncByteStream)
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        with _as_httpx():
            response = self._pool.handle_request(
                httpcore.Request(
                    request.method,
                    url,
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Body(response), extensions=response.extensions
        )

    def close(self) -> None:
        """Give the sockets back."""
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Generator[bytes]:
        with _as_httpx():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


@contextmanager
def _as_httpx() -> Iterator[None]:
    """httpcore's errors as httpx's: they have the same names."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


class _Backend(httpcore.NetworkBackend):
    """Connects to the addresses that the pin allows, one after the other."""

    def __init__(self, pin: AddressPolicy) -> None:
        self._pin = pin
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that answers."""
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._pin.addresses(host, port):
            try:
                stream = self._sockets.connect_tcp(
                    str(address), port, _left(timeout, httpcore.ConnectTimeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Stream(stream)
        assert failed is not None  # the pin never gives an empty list
        raise failed


class _Stream(httpcore.NetworkStream):
    """A connection that heeds the deadline, and acknowledges at once.

    Label Studio's own server writes the head of an answer and then its body, and sends the second only once the first
    is acknowledged. A kept connection puts that off by 40 ms, which was more than most requests take. Linux forgets
    what is set here, so it is set before every read; other systems have no such setting.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        connection = self._stream.get_extra_info("socket")
        if _QUICK is not None and connection is not None:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, _QUICK, 1)
            except OSError as error:  # it was closed meanwhile
                raise httpcore.ReadError(str(error)) from error
        current = _deadline.get()
        if current is None or current.cancelled is None:
            return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))
        given_up_at = time.monotonic() + timeout if timeout is not None else current.until
        while True:
            left = _left(max(0.001, given_up_at - time.monotonic()), httpcore.ReadTimeout)
            try:
                return self._stream.read(max_bytes, min(_CANCEL_SECONDS, left or _CANCEL_SECONDS))
            except httpcore.ReadTimeout:  # nothing was read, so that reading may go on
                if time.monotonic() >= min(given_up_at, current.until):
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(timeout, httpcore.ConnectTimeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(timeout: float | None, out_of_time: type[httpcore.TimeoutException]) -> float | None:
    """The time-out of one step, cut by the deadline around."""
    current = _deadline.get()
    if current is None:
        return timeout
    left = current.until - time.monotonic()
    if left <= 0 or _is_cancelled():
        raise out_of_time("the time for the whole of it is over")
    return left if timeout is None else min(timeout, left)
