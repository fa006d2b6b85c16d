"""Transport to Label Studio: it resolves the host name, checks the address, and connects to exactly that address.

The name is not resolved again between the check and the connection, which prevents DNS rebinding. Proxy settings of the
environment are ignored, so that the token is sent to Label Studio only. A ``deadline`` limits the duration of a whole
exchange; the time-out of a read alone would restart with every byte received."""

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
#: Function from host and port to IP addresses, in the resolver's order.
Resolver = Callable[[str, int], list[Address]]

#: Addresses of the metadata services of clouds, which serve a machine's credentials; some of them are not link-local.
_METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
#: Linux's socket option for immediate acknowledgement; None on other systems.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)
#: Seconds between two checks for cancellation during a read.
_CANCEL_SECONDS = 0.2


class _Deadline(NamedTuple):
    """The end of the current exchange, by ``time.monotonic``. The exchange also ends when ``cancelled`` is set."""

    until: float
    cancelled: threading.Event | None


_deadline: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


class Reach(StrEnum):
    """The network that an address belongs to."""

    MACHINE = "this machine"
    NETWORK = "the local network"
    WORLD = "the internet"


@contextmanager
def deadline(seconds: float, cancelled: threading.Event | None = None) -> Iterator[None]:
    """Context manager that limits all reads and writes of this thread to ``seconds`` together.

    After that time they raise a time-out of httpx. They do so at once when another thread sets ``cancelled``.
    """
    token = _deadline.set(_Deadline(time.monotonic() + seconds, cancelled))
    try:
        yield
    finally:
        _deadline.reset(token)


def is_over() -> bool:
    """Whether the current deadline has passed, or was cancelled."""
    current = _deadline.get()
    return current is not None and (time.monotonic() >= current.until or _is_cancelled())


def _is_cancelled() -> bool:
    current = _deadline.get()
    return current is not None and current.cancelled is not None and current.cancelled.is_set()


def resolved(host: str, port: int) -> list[Address]:
    """The IP addresses that the system's resolver returns for a host, without duplicates."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries))


class AddressPolicy:
    """Policy for the IP addresses that a host name may resolve to.

    Link-local, multicast and unspecified addresses are refused, and so are the metadata services of clouds. They are
    allowed only if the host is given as an address. The network of a name (see ``Reach``) is fixed for the life of the
    process: a name that first resolved to the internet may not resolve to this machine or the local network later, nor
    the other way round.
    """

    def __init__(self, resolve: Resolver = resolved) -> None:
        self._resolve = resolve
        self._first: dict[str, frozenset[Reach]] = {}

    def addresses(self, host: str, port: int) -> list[Address]:
        """The allowed IP addresses of a host, in the resolver's order.

        Raises:
            httpcore.ConnectError: The name is unknown, or has no allowed address; the message says which.
        """
        try:
            return [ip_address(host)]  # the host is an address: nothing to resolve
        except ValueError:
            pass
        try:
            addresses = self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} is not known ({error})") from error
        permitted = [address for address in addresses if not _forbidden(address)]
        if not permitted:
            raise httpcore.ConnectError(f"{host} means {_listed(addresses)}, which nothing is fetched from")
        first = self._first.setdefault(host, frozenset(map(_reach, permitted)))
        same = [address for address in permitted if _reach(address) in first]
        if not same:
            raise httpcore.ConnectError(
                f"{host} now means {_listed(permitted)}, and meant {' and '.join(sorted(first))} before; "
                "if that is right, start this process again"
            )
        return same


def _plain(address: Address) -> Address:
    """The IPv4 address of an IPv4-mapped IPv6 address; any other address unchanged."""
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
    """httpx transport on an httpcore pool. It connects only to addresses that its ``AddressPolicy`` allows."""

    def __init__(self, pin: AddressPolicy) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=_Backend(pin),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its response; httpx calls this method."""
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
        """Close the sockets."""
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
    """Context manager that converts httpcore's errors to the httpx errors of the same names."""
    try:
        yield
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


class _Backend(httpcore.NetworkBackend):
    """Network backend that tries the addresses which the policy allows, one after the other."""

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
        """A connection to the first address that accepts one."""
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in self._pin.addresses(host, port):
            try:
                stream = self._sockets.connect_tcp(
                    str(address),
                    port,
                    _remaining_timeout(timeout, httpcore.ConnectTimeout),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Stream(stream)
        assert failed is not None  # the policy never returns an empty list
        raise failed


class _Stream(httpcore.NetworkStream):
    """Connection with a deadline and immediate acknowledgement (TCP_QUICKACK).

    Label Studio's own server sends the head of a response first, and the body only after the head was acknowledged. On
    a kept-alive connection the system delays the acknowledgement by 40 ms, longer than most requests take. Linux resets
    the option, so it is set before every read. Other systems have no such option.
    """

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        connection = self._stream.get_extra_info("socket")
        if _QUICKACK is not None and connection is not None:
            try:
                connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError as error:  # the socket was closed in the meantime
                raise httpcore.ReadError(str(error)) from error
        current = _deadline.get()
        if current is None or current.cancelled is None:
            return self._stream.read(max_bytes, _remaining_timeout(timeout, httpcore.ReadTimeout))
        given_up_at = time.monotonic() + timeout if timeout is not None else current.until
        while True:
            left = _remaining_timeout(max(0.001, given_up_at - time.monotonic()), httpcore.ReadTimeout)
            try:
                return self._stream.read(max_bytes, min(_CANCEL_SECONDS, left or _CANCEL_SECONDS))
            except httpcore.ReadTimeout:  # nothing was read, so the read can continue
                if time.monotonic() >= min(given_up_at, current.until):
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining_timeout(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(
            self._stream.start_tls(ssl_context, server_hostname, _remaining_timeout(timeout, httpcore.ConnectTimeout))
        )

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _remaining_timeout(timeout: float | None, out_of_time: type[httpcore.TimeoutException]) -> float | None:
    """The time-out in seconds of one step, limited by the current deadline.

    ``out_of_time`` is the exception that is raised if the deadline has passed.
    """
    current = _deadline.get()
    if current is None:
        return timeout
    remaining = current.until - time.monotonic()
    if remaining <= 0 or _is_cancelled():
        raise out_of_time("the time for the whole of it is over")
    return remaining if timeout is None else min(timeout, remaining)
