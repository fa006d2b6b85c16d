"""Pages and their files are compressed for browsers that accept gzip; equal pages have different lengths."""

from __future__ import annotations

import gzip
import re
import zlib
from html import unescape
from typing import Any

import pytest

from benches.page_rows import add_batch
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SpecRow
from datagen.web.pages.compression import padded
from datagen.web.pages.pictures import FORMATS
from datagen.workflow.study_pages.gallery_view import PICTURES_A_PAGE

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
#: Number of pictures that Chromium loads with a gallery in a laptop's window.
LOADED_PICTURES = 40
TEXT = b"a text that occurs again and again. " * 50


def static_file(browser: Any, name: str) -> str:
    """The address of a file that the home page uses."""
    page = browser.page("/studio/")
    start = page.index(f"/studio/static/{name}")
    return str(page[start : page.index('"', start)])


def test_a_page_is_compressed_for_a_browser_that_accepts_it(browser: Any) -> None:
    plain = browser.get("/studio/")
    small = browser.client.get("/studio/", headers=GZIP)
    assert (plain.headers.get("Content-Encoding"), small.headers["Content-Encoding"]) == (None, "gzip")
    assert plain.headers["Vary"] == small.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(small.data) == plain.data
    assert len(small.data) < len(plain.data) / 2
    assert int(small.headers["Content-Length"]) == len(small.data)


@pytest.mark.parametrize("name", ["studio.css", "studio.js"])
def test_a_file_is_compressed_for_a_browser_that_accepts_it(browser: Any, name: str) -> None:
    path = static_file(browser, name)
    plain, small = browser.get(path), browser.client.get(path, headers=GZIP)
    assert (plain.headers.get("Content-Encoding"), small.headers["Content-Encoding"]) == (None, "gzip")
    assert gzip.decompress(small.data) == plain.data
    assert "immutable" in small.headers["Cache-Control"]


def test_a_gallery_with_its_files_and_first_pictures_has_250_kilobytes_at_most(browser: Any) -> None:
    spec = browser.study.specs()[-1]
    with browser.studio.services.database.write() as session:
        add_batch(session, session.get_one(SpecRow, spec.id), BatchKind.AUDIT, 1, PICTURES_A_PAGE)
    path = f"/studio/studies/{browser.study.id}/audit/1"
    files = {unescape(address) for address in re.findall(r'(?:href|src)="(/studio/static/[^"]+)"', browser.page(path))}
    assert {address.split("?")[0].rsplit(".", 1)[1] for address in files} == {"css", "js", "svg"}
    sent = sum(len(browser.client.get(address, headers=GZIP).data) for address in (path, *files))
    assert sent + LOADED_PICTURES * FORMATS["tiny"].max_bytes <= 250_000


def test_a_picture_is_sent_as_it_is(browser: Any) -> None:
    sample = browser.study.samples_of(browser.study.batches()[0])[0]
    path = f"/studio/pictures/{browser.study.id}/sample/{sample.id}/small"
    answer = browser.client.get(path, headers=GZIP)
    assert answer.mimetype == "image/webp"
    assert "Content-Encoding" not in answer.headers


def test_a_browser_that_refuses_gzip_gets_the_page_as_it_is(browser: Any) -> None:
    assert "Content-Encoding" not in browser.client.get("/studio/", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_equal_texts_have_different_lengths() -> None:
    files = [padded(TEXT) for _ in range(200)]
    assert len({len(file) for file in files}) > 20
    assert max(map(len, files)) - min(map(len, files)) <= 100
    assert {gzip.decompress(file) for file in files} == {TEXT}
    assert all(zlib.decompress(file, zlib.MAX_WBITS | 16) == TEXT for file in files)
