"""Inputs are decoded in the sandbox whenever their pixels are needed, not only when they come in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datagen.domain.inputs import ImageRef
from datagen.errors import BadPicture
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.imaging.png_encoder import encode_png
from datagen.store.blob_store import BlobStore
from datagen.workflow.generation.picture_cache import StoredPictures

#: A decoder that hangs over grey pictures.
HANGS = """
import time
from datagen.imaging import codec as ours

def decode(data, *, max_bytes, max_pixels):
    pixels = ours.decode(data, max_bytes=max_bytes, max_pixels=max_pixels)
    while pixels.ndim == 2:
        time.sleep(1)
    return pixels
"""


@pytest.fixture
def images(tmp_path: Path) -> BlobStore:
    return BlobStore(f"file://{tmp_path / 'images'}")


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DecoderSandbox]:
    (tmp_path / "hangs.py").write_text(HANGS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    decoder = DecoderSandbox(max_bytes=10**6, max_pixels=10**6, wall_seconds=0.5, decoder="hangs:decode")
    yield decoder
    decoder.close()


def put(images: BlobStore, pixels: np.ndarray) -> ImageRef:
    height, width = pixels.shape[:2]
    return ImageRef(digest=images.put(encode_png(pixels)), width=width, height=height, name="x.png")


def test_a_picture_that_hangs_when_it_is_decoded_again_is_given_up_and_the_next_is_used(
    images: BlobStore, hanging: DecoderSandbox
) -> None:
    grey = put(images, np.full((4, 5), 9, np.uint8))
    colour = np.random.default_rng(2).integers(0, 256, (4, 5, 3), np.uint8)
    pictures = StoredPictures(images, hanging)
    with pytest.raises(BadPicture, match="took more than"):
        pictures.load(grey)
    np.testing.assert_array_equal(pictures.load(put(images, colour)), colour)


def test_the_most_recently_used_stay_decoded_and_read_only(images: BlobStore, hanging: DecoderSandbox) -> None:
    refs = [put(images, np.full((10, 10, 3), tone, np.uint8)) for tone in range(3)]
    pictures = StoredPictures(images, hanging, cache_bytes=600)
    first = pictures.load(refs[0])
    assert pictures.load(refs[0]) is first
    assert not first.flags.writeable
    for ref in refs[1:]:
        pictures.load(ref)
    assert pictures.load(refs[0]) is not first


def test_a_picture_larger_than_the_cache_stays_decoded_until_the_next(
    images: BlobStore, hanging: DecoderSandbox
) -> None:
    large, small = (put(images, np.full((side, side, 3), 9, np.uint8)) for side in (20, 10))
    pictures = StoredPictures(images, hanging, cache_bytes=600)
    first = pictures.load(large)
    assert pictures.load(large) is first
    pictures.load(small)
    assert pictures.load(large) is not first
