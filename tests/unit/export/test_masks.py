"""Stored masks are read back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from datagen.errors import StoreError
from datagen.export.masks import instance_mask
from datagen.imaging.png_encoder import encode_png


def test_an_instance_mask_is_read_as_stored(mask: npt.NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(instance_mask(encode_png(mask), "s"), mask)


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture", encode_png(np.zeros((3, 3, 3), np.uint8)), encode_png(np.zeros((3, 3), np.uint16))],
    ids=["empty", "text", "colour", "16 bits"],
)
def test_invalid_mask_is_named(data: bytes) -> None:
    with pytest.raises(StoreError, match="the mask of sample s-7 is not a grey PNG with 8 bits"):
        instance_mask(data, "s-7")
