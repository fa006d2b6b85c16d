"""Encoding of pixels as JPEG and WebP, with an XMP packet, by Pillow.

Equal pixels, qualities and packets give equal bytes with the same releases of the libraries.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

#: The largest side of a WebP picture, and of a JPEG picture, pixels.
MAX_WEBP_SIDE, MAX_JPEG_SIDE = 16_383, 65_500


def encode_jpeg(image: npt.NDArray[Any], quality: int, *, xmp: bytes = b"") -> bytes:
    """Return a JPEG of an image [h, w] (grey) or [h, w, 3] (RGB), uint8, with colours at full resolution (4:4:4)."""
    return _encoded(image, xmp, format="JPEG", quality=quality, subsampling=0)


def encode_webp(image: npt.NDArray[Any], quality: int, *, xmp: bytes = b"") -> bytes:
    """Return a lossy WebP of an image [h, w] (grey) or [h, w, 3] (RGB), uint8; WebP has no grey: it becomes RGB."""
    return _encoded(image, xmp, format="WEBP", quality=quality)


def _encoded(image: npt.NDArray[Any], xmp: bytes, **options: Any) -> bytes:
    if image.dtype != np.uint8:
        raise ValueError(f"no lossy picture of {image.dtype}: give uint8")
    written = io.BytesIO()
    if xmp:
        options["xmp"] = xmp
    Image.fromarray(image).save(written, **options)
    return written.getvalue()
