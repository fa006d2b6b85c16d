"""Downloads: only from Label Studio's own origin, with the token sent there alone, and limited in size."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from datagen.errors import DatagenError, InputProblem, LabelStudioError, LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.downloads import fetch
from datagen.label_studio.api.http import Connection

Answer = Callable[[httpx.Request], httpx.Response]


def studio(answer: Answer, url: str = "http://studio:8080") -> tuple[Connection, list[httpx.URL]]:
    asked: list[httpx.URL] = []

    def known(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/current-user/whoami":
            return httpx.Response(200, json={})
        asked.append(request.url)
        return answer(request)

    return Connection(url, "a" * 40, transport=httpx.MockTransport(known), read_attempts=1), asked


def picture(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, content=b"picture")


@pytest.mark.parametrize("address", ["/data/upload/1/a.png", "data/upload/1/a.png", "http://studio:8080/data/a.png"])
def test_an_address_on_label_studio_is_fetched(address: str) -> None:
    at, asked = studio(picture)
    assert fetch(at, address, max_bytes=100) == b"picture"
    assert len(asked) == 1


@pytest.mark.parametrize(
    "address",
    [
        "http://evil/a.png",
        "https://studio:8080/a.png",
        "http://studio/a.png",
        "http://studio:8081/a.png",
        "//evil/a.png",
        "http://studio:8080@evil/a.png",
        "http://user:pass@studio:8080/a.png",
        "http://studio:8080\\@evil/a.png",
        "file:///etc/passwd",
        "s3://bucket/key.png",
        "data:image/png;base64,AAAA",
        "http://[::1/a.png",
        "http://studio:port/a.png",
        "http://studio.evil:8080/a.png",
    ],
)
def test_any_other_address_is_refused_before_anything_is_sent(address: str) -> None:
    at, asked = studio(picture)
    with pytest.raises(InputProblem):
        fetch(at, address, max_bytes=100)
    assert asked == []


def test_a_redirect_on_the_same_origin_is_followed() -> None:
    def resolve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tasks/1/resolve/":
            return httpx.Response(303, headers={"Location": "/proxied/a.png"})
        return picture(request)

    at, asked = studio(resolve)
    assert fetch(at, "/tasks/1/resolve/?fileuri=czM6", max_bytes=100) == b"picture"
    assert [url.path for url in asked] == ["/tasks/1/resolve/", "/proxied/a.png"]


@pytest.mark.parametrize("address", ["http://evil/a.png", "//evil/a.png", "https://studio:8080/a.png", "file:///etc/x"])
def test_a_redirect_to_another_origin_is_refused_and_gets_no_token(address: str) -> None:
    at, asked = studio(lambda request: httpx.Response(302, headers={"Location": address}))
    with pytest.raises(InputProblem):
        fetch(at, "/a.png", max_bytes=100)
    assert [url.host for url in asked] == ["studio"]


def test_a_loop_of_redirects_ends() -> None:
    at, asked = studio(lambda request: httpx.Response(302, headers={"Location": "/a.png"}))
    with pytest.raises(InputProblem, match="redirects"):
        fetch(at, "/a.png", max_bytes=100)
    assert len(asked) < 10


def test_a_file_that_is_too_large_is_cut_off_while_it_streams() -> None:
    sent = 0

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal sent
            while True:
                sent += 1000
                yield b"x" * 1000

    at, _ = studio(lambda request: httpx.Response(200, stream=Endless()))
    with pytest.raises(InputProblem, match="DATAGEN_MAX_IMAGE_BYTES"):
        fetch(at, "/a.png", max_bytes=10_000)
    assert sent < 200_000


def test_the_body_of_an_error_is_read_up_to_a_bound() -> None:
    sent = 0

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            nonlocal sent
            while sent < 10_000_000:
                sent += 1000
                yield b"x" * 1000

    at, _ = studio(lambda request: httpx.Response(404, stream=Endless()))
    with pytest.raises(LabelStudioMissing):
        fetch(at, "/a.png", max_bytes=100)
    assert sent < 200_000


@pytest.mark.parametrize("address", ["/data/upload/1/\ud83d.png", "http://studio:8080/\udfff", "/data/a\0.png"])
def test_an_address_with_characters_that_none_has_is_refused(address: str) -> None:
    at, asked = studio(picture)
    with pytest.raises(InputProblem, match="is no address; import the image again") as problem:
        fetch(at, address, max_bytes=100)
    assert str(problem.value).isprintable()
    assert asked == []


def test_a_signed_address_is_not_repeated_in_the_sentence() -> None:
    at, _ = studio(picture)
    with pytest.raises(InputProblem) as problem:
        fetch(at, "http://bucket/a.png?X-Amz-Signature=secret", max_bytes=100)
    assert "secret" not in str(problem.value)


@pytest.mark.parametrize(
    ("status", "error"), [(404, LabelStudioMissing), (503, LabelStudioUnavailable), (403, LabelStudioError)]
)
def test_a_refusal_is_one_of_our_errors(status: int, error: type[DatagenError]) -> None:
    at, _ = studio(lambda request: httpx.Response(status, json={"detail": "no"}))
    with pytest.raises(error):
        fetch(at, "/a.png", max_bytes=100)
