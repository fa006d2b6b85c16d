"""``/images``: a picture is served for a valid link alone, in Label Studio's editor too."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from datagen.imaging.png_encoder import encode_png
from datagen.store.signed_urls import SignedUrls
from studio import Studio

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.fixture
def data() -> bytes:
    return encode_png(np.full((4, 5), 77, np.uint8))


def test_a_signed_link_needs_no_log_in_and_shows_in_another_origins_canvas(studio: Studio, data: bytes) -> None:
    link = studio.services.links.make(studio.services.images.put(data))
    answer = httpx.get(link, headers={"Origin": studio.server.url})
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Access-Control-Allow-Origin"] in ("*", studio.server.url)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_link_without_forged_or_for_another_picture_is_refused(studio: Studio, data: bytes) -> None:
    digest = studio.services.images.put(data)
    other = studio.services.images.put(encode_png(np.full((4, 5), 78, np.uint8)))
    link = studio.services.links.make(digest)
    key = link.partition("?key=")[2]
    forged = SignedUrls(studio.settings.own_url, b"another key", 365).make(digest)
    for bad in (
        link.partition("?")[0],
        link[:-2] + ("AA" if not link.endswith("AA") else "BB"),
        link.replace(digest, other),
        forged,
        link.partition("?key=")[0] + f"?key={key}{key}",
        link.partition("?key=")[0] + "?key=%00%ff",
    ):
        answer = httpx.get(bad)
        assert (answer.status_code, list(answer.json())) == (403, ["error"]), bad


def test_an_expired_link_says_so(studio: Studio, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = studio.services.images.put(data)
    long_ago = 1_600_000_000.0
    with monkeypatch.context() as then:
        then.setattr("itsdangerous.timed.time.time", lambda: long_ago)
        old = studio.services.links.make(digest)
    answer = httpx.get(old)
    assert answer.status_code == 403
    assert answer.json() == {"error": "this link has expired; publish the task again to get a new one"}


def test_a_picture_that_is_gone_is_404_with_a_sentence(studio: Studio, data: bytes) -> None:
    digest = studio.services.images.put(data)
    studio.services.images.delete(digest)
    answer = httpx.get(studio.services.links.make(digest))
    assert answer.status_code == 404
    assert "is not in the store" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/images/../secrets/signing_key.png", "/images/short.png", f"/images/{'Z' * 64}.png"])
def test_no_other_file_can_be_asked_for(path: str, studio: Studio) -> None:
    with httpx.Client(base_url=studio.settings.own_url) as browser:
        answer = browser.get(path)
    assert answer.status_code in (403, 404)
    assert b"signing" not in answer.content
