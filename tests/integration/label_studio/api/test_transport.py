"""Fetching from malicious servers: real sockets, and a resolver with given answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import httpcore
import httpx
import pytest

from datagen.errors import InputProblem, LabelStudioUnavailable
from datagen.label_studio.api.downloads import fetch
from datagen.label_studio.api.http import Connection
from datagen.label_studio.api.transport import Address, AddressPolicy, Reach, deadline

TOKEN = "f" * 40
#: What a server does with one connection; the request's head is read already.
Behaviour = Callable[[socket.socket, bytes], None]
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def server(behave: Behaviour, host: str = "127.0.0.1", port: int = 0) -> Iterator[tuple[int, list[bytes]]]:
    """A small server; yields its port and the received requests."""
    heard: list[bytes] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        listener.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                connection.settimeout(20)
                head = b""
                try:
                    while not over.is_set() and (part := connection.recv(65536)):
                        head += part
                        if b"\r\n\r\n" in head:
                            if b"/whoami" in head:
                                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                            else:
                                heard.append(head)
                                behave(connection, head)
                            head = b""
                except OSError:
                    return  # the client has closed the connection

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            over.set()
            thread.join()


def picture(connection: socket.socket, _head: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture")


@contextmanager
def studio(url: str, pin: AddressPolicy | None = None) -> Iterator[Connection]:
    connection = Connection(url, TOKEN, pin=pin, timeout=httpx.Timeout(5.0, connect=1.0), read_attempts=1)
    yield connection
    connection.close()


@contextmanager
def studio_that(behave: Behaviour) -> Iterator[Connection]:
    """A connection to a Label Studio with this behaviour."""
    with server(behave) as (port, _), studio(f"http://127.0.0.1:{port}") as at:
        yield at


def names(**known: str | list[str]) -> AddressPolicy:
    """An address policy with a resolver of these names; each query of a list returns its next answer."""
    answers = {
        name: [addresses] if isinstance(addresses, str) else list(addresses) for name, addresses in known.items()
    }

    def resolve(host: str, _port: int) -> list[Address]:
        left = answers[host.partition(".")[0]]
        message = left.pop(0) if len(left) > 1 else left[0]
        return [ip_address(address) for address in message.split()]

    return AddressPolicy(resolve)


# -- which addresses


def test_it_connects_to_the_address_that_was_checked_and_resolves_once_for_it() -> None:
    asked = []

    def resolve(host: str, port: int) -> list[Address]:
        asked.append(host)
        return [ip_address("127.0.0.1")]

    with server(picture) as (port, heard), studio(f"http://studio.test:{port}", AddressPolicy(resolve)) as at:
        assert fetch(at, "/a.png", max_bytes=100) == b"picture"
    assert asked == ["studio.test"]  # one connection, one question: none is left for a second answer
    assert f"host: studio.test:{port}".encode() in heard[0].lower()


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",
        "fe80::1",
        "::ffff:169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
    ],
)
def test_a_name_that_means_a_metadata_service_or_no_host_is_not_connected_to(address: str) -> None:
    with pytest.raises(httpcore.ConnectError, match="which nothing is fetched from"):
        names(studio=address).addresses("studio.test", 80)


def test_a_forbidden_address_among_good_ones_is_passed_over() -> None:
    assert names(studio="169.254.169.254 192.168.0.5").addresses("studio.test", 80) == [ip_address("192.168.0.5")]


def test_an_address_that_was_configured_itself_is_taken_at_its_word() -> None:
    assert AddressPolicy().addresses("169.254.10.10", 80) == [ip_address("169.254.10.10")]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("93.184.215.14", "127.0.0.1"),
        ("93.184.215.14", "10.0.0.7"),
        ("10.0.0.7", "93.184.215.14"),
        ("10.0.0.7", "::1"),
        ("10.0.0.7", "::ffff:127.0.0.1"),
    ],
)
def test_a_name_that_changes_what_it_means_is_not_followed(first: str, then: str) -> None:
    pin = names(studio=[first, then])
    assert pin.addresses("studio.test", 80) == [ip_address(first)]
    with pytest.raises(httpcore.ConnectError, match="start this process again"):
        pin.addresses("studio.test", 80)


def test_a_name_may_move_within_its_network() -> None:
    pin = names(studio=["10.0.0.7", "172.18.0.3 127.0.0.1"])
    pin.addresses("studio.test", 80)
    assert pin.addresses("studio.test", 80) == [ip_address("172.18.0.3")]
    assert list(Reach) == ["this machine", "the local network", "the internet"]


def test_dns_rebinding_gets_neither_a_connection_nor_the_token() -> None:
    """The second answer leads to a server that listens: it must not receive one byte."""
    with server(picture) as (port, heard):
        pin = names(studio=["192.0.2.1", "127.0.0.1"])
        pin.addresses("studio.test", port)
        with studio(f"http://studio.test:{port}", pin) as at, pytest.raises(LabelStudioUnavailable):
            fetch(at, "/a.png", max_bytes=100)
    assert heard == []


def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer() -> None:
    with (
        server(picture) as (port, _),
        studio(f"http://studio.test:{port}", names(studio="127.0.0.9 127.0.0.1")) as at,
    ):
        assert fetch(at, "/a.png", max_bytes=100) == b"picture"


def test_a_proxy_of_the_environment_does_not_get_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(picture) as (port, _), server(picture) as (proxy, heard):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy}")
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy}")
        with studio(f"http://127.0.0.1:{port}") as at:
            assert fetch(at, "/a.png", max_bytes=100) == b"picture"
    assert heard == []


# -- redirects, with a real server at the other end


def test_a_redirect_to_another_port_is_not_followed_and_gets_no_token() -> None:
    def send_there(connection: socket.socket, _head: bytes) -> None:
        head = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{thief}/a.png\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode())

    with server(picture) as (thief, heard), server(send_there) as (port, asked):
        with studio(f"http://127.0.0.1:{port}") as at, pytest.raises(InputProblem, match="is not on Label Studio"):
            fetch(at, "/a.png", max_bytes=100)
        assert TOKEN.encode() in asked[0]
    assert heard == []


def test_redirects_share_one_time_limit() -> None:
    def again(connection: socket.socket, _head: bytes) -> None:
        time.sleep(0.2)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /b.png\r\nContent-Length: 0\r\n\r\n")

    with studio_that(again) as at, pytest.raises(InputProblem, match="had not arrived"):
        fetch(at, "/a.png", max_bytes=100, seconds=0.5)


# -- bytes that drip, lie or swell


def drip(head: bytes) -> Behaviour:
    def behave(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(b"x")
            time.sleep(0.05)

    return behave


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Long: "], ids=["body", "headers"]
)
def test_a_picture_that_drips_is_given_up_after_the_time_for_the_whole(head: bytes) -> None:
    with studio_that(drip(head)) as at:
        began = time.monotonic()
        with pytest.raises(InputProblem, match=r"/a.png had not arrived after 0.6 s"):
            fetch(at, "/a.png", max_bytes=1000, seconds=0.6)
        assert time.monotonic() - began < 3


def test_a_server_that_says_nothing_is_unavailable_not_the_pictures_fault() -> None:
    with server(lambda *_: time.sleep(1.0)) as (port, _):
        at = Connection(f"http://127.0.0.1:{port}", TOKEN, timeout=httpx.Timeout(0.3), read_attempts=1)
        with pytest.raises(LabelStudioUnavailable, match="did not answer in time"):
            fetch(at, "/a.png", max_bytes=1000)
        at.close()


def test_a_length_that_is_announced_as_too_large_is_refused_unread() -> None:
    def boast(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")

    with studio_that(boast) as at, pytest.raises(InputProblem, match="DATAGEN_MAX_IMAGE_BYTES"):
        fetch(at, "/a.png", max_bytes=1000, seconds=5)


def test_a_body_longer_than_it_announced_is_cut_at_what_was_announced() -> None:
    def lie(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\npicture" + b"x" * 100_000)

    with studio_that(lie) as at:
        assert fetch(at, "/a.png", max_bytes=1000) == b"picture"


def test_a_body_that_ends_before_its_announced_length_is_not_taken_for_the_picture() -> None:
    def stop(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npicture")
        connection.shutdown(socket.SHUT_RDWR)

    with studio_that(stop) as at, pytest.raises(LabelStudioUnavailable):
        fetch(at, "/a.png", max_bytes=1000)


def test_an_endless_body_without_a_length_is_cut_off() -> None:
    def pour(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")

    with studio_that(pour) as at, pytest.raises(InputProblem, match="DATAGEN_MAX_IMAGE_BYTES"):
        fetch(at, "/a.png", max_bytes=100_000)


def test_a_compressed_body_which_may_swell_without_bound_is_refused_unread() -> None:
    def squeeze(connection: socket.socket, head: bytes) -> None:
        assert b"accept-encoding: identity" in head.lower()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\npicture")

    with studio_that(squeeze) as at, pytest.raises(InputProblem, match="sent compressed"):
        fetch(at, "/a.png", max_bytes=1000)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux has an immediate acknowledgement")
def test_body_sent_after_the_acknowledgement_of_the_head_arrives_without_the_delay_of_40_ms() -> None:
    """Label Studio's server writes head and body apart; on a kept connection Linux delays the acknowledgement."""

    def write_head_and_body_apart(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        connection.sendall(b"{}")  # the system holds this back until the head is acknowledged

    seconds = []
    with studio_that(write_head_and_body_apart) as at:
        for _ in range(20):
            start = time.perf_counter()
            at.get("/api/x", "a response")
            seconds.append(time.perf_counter() - start)
    assert min(seconds[5:]) < 0.03, "the first ones of a connection are fast in any case"


def test_a_deadline_is_over_for_what_comes_after_it() -> None:
    with studio_that(picture) as at:
        with deadline(-1), pytest.raises(LabelStudioUnavailable):
            at.get("/api/x", "the thing")
        assert fetch(at, "/a.png", max_bytes=100) == b"picture"
