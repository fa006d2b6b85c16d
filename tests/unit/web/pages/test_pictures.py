"""Pictures of the pages: their sizes, and one that cannot be decoded is tried only once."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.inputs import Role
from datagen.errors import BadPicture, Refused
from datagen.imaging.codec import Pixels
from datagen.store.tables.inputs import InputRow
from datagen.web.pages.pictures import FORMATS, Pictures
from datagen.web.pages.thumbnail_cache import ThumbnailCache


class Broken:
    """A decoder that fails on every picture, and counts them."""

    asked = 0

    def decode(self, data: bytes) -> Pixels:
        self.asked += 1
        raise BadPicture("decoding the picture took more than 10 s")


def test_a_picture_that_cannot_be_decoded_is_decoded_once(browser: object, tmp_path: Path) -> None:
    studio, decoder = browser.studio, Broken()  # type: ignore[attr-defined]
    pictures = Pictures(studio.services.images, decoder, ThumbnailCache(tmp_path / "small"))  # type: ignore[arg-type]
    with studio.services.database.read() as session:
        row = session.scalars(select(InputRow).where(InputRow.role == Role.CONCEPT).limit(1)).one()
    for variant in ("small", "large", "small-outline"):
        with studio.services.database.read() as session, pytest.raises(Refused, match="took more than 10 s"):
            pictures.of_input(session, row.study_id, row.task_id, variant, None)
    assert decoder.asked == 1


def test_a_gallery_shows_tiny_pictures_and_small_ones_on_a_fine_screen(browser: Any) -> None:
    page = browser.page(f"/studio/studies/{browser.study.id}/round/1")
    shown = re.findall(r'<img src="([^"]+/tiny-outline[^"]*)" srcset="([^"]+/small-outline[^"]*) 2x"', page)
    assert len(shown) == page.count('<li class="not-judged">') > 0
    for size, path in zip(("tiny", "small"), shown[0], strict=True):
        answer = browser.get(unescape(path))
        assert (answer.status_code, answer.mimetype) == (200, "image/webp")
        assert len(answer.data) <= FORMATS[size].max_bytes
