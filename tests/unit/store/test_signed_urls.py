"""Signed URLs: a valid one gives the picture; forged, expired and foreign ones are refused."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

import pytest

from datagen.errors import Refused
from datagen.store.signed_urls import SignedUrls

DIGEST, OTHER = "a" * 64, "b" * 64


def _key(link: str) -> str:
    return parse_qs(urlsplit(link).query)["key"][0]


def test_signed_link_is_accepted() -> None:
    links = SignedUrls("http://datagen.example", b"key", days=1)
    link = links.make(DIGEST)
    assert link.startswith(f"http://datagen.example/images/{DIGEST}.png?key=")
    links.check(DIGEST, _key(link))


def test_a_link_is_for_one_picture_only() -> None:
    links = SignedUrls("", b"key", days=1)
    with pytest.raises(Refused, match="another picture"):
        links.check(OTHER, _key(links.make(DIGEST)))


def test_a_link_signed_with_another_key_is_refused() -> None:
    forged = SignedUrls("", b"their key", days=1).make(DIGEST)
    with pytest.raises(Refused, match="not valid"):
        SignedUrls("", b"our key", days=1).check(DIGEST, _key(forged))


def test_a_link_expires() -> None:
    link = SignedUrls("", b"key", days=1).make(DIGEST)
    with pytest.raises(Refused, match="expired"):
        SignedUrls("", b"key", days=-1).check(DIGEST, _key(link))


@pytest.mark.parametrize("junk", ["", "x", "a.b.c", "é" * 50])
def test_junk_instead_of_a_key_is_refused(junk: str) -> None:
    with pytest.raises(Refused):
        SignedUrls("", b"key", days=1).check(DIGEST, junk)


def test_a_key_is_changed_while_links_of_the_old_one_are_about() -> None:
    old = SignedUrls("", b"old", days=1).make(DIGEST)
    both = SignedUrls("", (b"old", b"new"), days=1)
    both.check(DIGEST, _key(old))
    new = both.make(DIGEST)
    SignedUrls("", b"new", days=1).check(DIGEST, _key(new))
    with pytest.raises(Refused):
        SignedUrls("", b"old", days=1).check(DIGEST, _key(new))
    with pytest.raises(Refused):
        SignedUrls("", b"new", days=1).check(DIGEST, _key(old))


def _made(days_from_now: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of a link made by a machine whose clock is ahead by this time."""
    moment = time.time() + days_from_now * 86_400
    with monkeypatch.context() as patch:
        patch.setattr("itsdangerous.timed.time.time", lambda: moment)
        return _key(SignedUrls("", b"key", days=3).make(DIGEST))


def test_link_of_a_machine_whose_clock_is_past_midnight_already_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    SignedUrls("", b"key", days=3).check(DIGEST, _made(1, monkeypatch))


def test_link_from_the_future_names_the_clocks_not_its_age(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match=r"days ahead of this machine's clock; set the clocks of all machines by NTP"):
        SignedUrls("", b"key", days=3).check(DIGEST, _made(3, monkeypatch))


def test_link_passes_until_the_end_of_its_last_day(monkeypatch: pytest.MonkeyPatch) -> None:
    links = SignedUrls("", b"key", days=3)
    links.check(DIGEST, _made(-3, monkeypatch))
    with pytest.raises(Refused, match="expired"):
        links.check(DIGEST, _made(-4, monkeypatch))


def test_every_part_of_a_link_is_checked() -> None:
    links = SignedUrls("http://datagen.example", b"key", days=1)
    link = links.make(DIGEST)
    assert links.opens(link, DIGEST)
    assert not links.opens(link, "0" * 64)
    assert not links.opens(link.replace("datagen.example", "elsewhere.example"), DIGEST)
    assert not links.opens(link.partition("?")[0], DIGEST)
    assert not links.opens("", DIGEST)
    assert not SignedUrls("http://datagen.example", b"another", days=1).opens(link, DIGEST)
    assert not SignedUrls("http://datagen.example", b"key", days=-1).opens(link, DIGEST)
