"""Small pictures are made once, and the folder stays below its size."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.web.pages import thumbnail_cache
from datagen.web.pages.thumbnail_cache import ThumbnailCache


def must_not_be_made() -> bytes:
    raise AssertionError


def test_a_picture_is_made_once_also_for_another_process(tmp_path: Path) -> None:
    assert ThumbnailCache(tmp_path).get("a", lambda: b"A") == b"A"
    assert ThumbnailCache(tmp_path).get("a", must_not_be_made) == b"A"
    assert ThumbnailCache(tmp_path).get("b", lambda: b"B") == b"B"


def test_the_oldest_pictures_are_removed_when_the_folder_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnail_cache, "_CHECK_EVERY", 10)
    cache = ThumbnailCache(tmp_path, max_bytes=5_000)
    for number in range(10):
        cache.get(str(number), lambda: b"x" * 1_000)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.webp")]
    assert sum(sizes) <= 4_000
    assert len(sizes) == 4


def test_without_a_writable_folder_a_picture_is_made_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = ThumbnailCache(tmp_path / "file")
    assert cache.get("a", lambda: b"A") == b"A"
    assert cache.get("a", lambda: b"A") == b"A"


def test_nothing_is_kept_of_a_picture_that_could_not_be_made(tmp_path: Path) -> None:
    cache = ThumbnailCache(tmp_path)
    with pytest.raises(AssertionError):
        cache.get("a", must_not_be_made)
    assert cache.get("a", lambda: b"A") == b"A"
