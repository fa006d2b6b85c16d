"""Encoding of exported images as PNG, JPEG or WebP, and the check that the labels are still right in a lossy one.

A rendered image equals its background outside its mask. A lossy encoding changes both, so the decoded image is compared
with the decoded encoding of the background:

* Outside the mask, no pixel may differ by more than twice the largest error that the encoder makes on the background,
  or than what can be seen. Each of the two pictures is as far from the true pixels as the encoder's error, so a larger
  difference is a change of the picture. In the encoder's blocks round an instance, whose edge rings there, a pixel may
  differ by half of the instance's contrast. Pixels that touch the mask are exempt, as outlines have a tolerance of a
  pixel.
* Inside each instance, the change from the background keeps at least half of its contrast, and stays above twice the
  encoder's error on the background.

An edge that is drawn at half of the contrast is therefore where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from datagen.domain.wording import counted
from datagen.errors import InputProblem
from datagen.export.image_kinds import ImageKind
from datagen.export.writer import Mask
from datagen.imaging.codec import Pixels, decode
from datagen.imaging.lossy_encoder import MAX_JPEG_SIDE, MAX_WEBP_SIDE, encode_jpeg, encode_webp

#: The quality of JPEG and WebP if none is given.
DEFAULT_QUALITY = 90
#: Largest change of a pixel that cannot be seen, in tones of 255: twice the smallest noise that engines reckon with.
UNSEEN_TONES = 4.0
#: The share of an instance's contrast that has to be left inside, and may be reached outside.
HALF = 0.5
#: The smallest ratio of an instance's contrast to the encoder's error.
MIN_CONTRAST_TO_ERROR = 2.0
#: How far an instance's edge rings, in pixels: the side of the largest blocks of the encoders (WebP's).
BLOCK = 16


@dataclass(frozen=True, slots=True)
class ImageEncoding:
    """The encoding of an export's image files.

    Raises:
        InputProblem: the quality is out of range, or the kind has none.
    """

    kind: ImageKind = ImageKind.PNG
    #: 1 to 100; None for PNG, which is lossless
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.kind is ImageKind.PNG and self.quality is not None:
            raise InputProblem(
                "PNG is lossless and has no quality; leave --quality out, or choose --images jpeg or webp"
            )
        if self.kind is not ImageKind.PNG:
            if self.quality is None:
                object.__setattr__(self, "quality", DEFAULT_QUALITY)
            elif not 1 <= self.quality <= 100:
                raise InputProblem(f"{self.quality} is no quality; give a number from 1 to 100, for example 90")

    @property
    def is_lossless(self) -> bool:
        """Whether the pixels stay as they are."""
        return self.kind is ImageKind.PNG

    def __str__(self) -> str:
        return "PNG" if self.quality is None else f"{self.kind.name} of quality {self.quality}"

    def obstacle(self, pixels: Pixels) -> str:
        """Return why this lossy kind cannot hold an image, as a clause; "" if it can."""
        limit = MAX_JPEG_SIDE if self.kind is ImageKind.JPEG else MAX_WEBP_SIDE
        if pixels.dtype != np.uint8:
            return f"it has 16 bits, {self.kind.name} holds 8"
        if max(pixels.shape[:2]) > limit:
            return f"its longer side is {max(pixels.shape[:2]):,} pixels, {self.kind.name} holds {limit:,}"
        return ""

    def encode(self, pixels: Pixels, xmp: bytes = b"") -> bytes:
        """Return the file of an image that this lossy kind can hold, with an XMP packet if given."""
        assert self.quality is not None, "PNG files are copied as they are"
        return (encode_jpeg if self.kind is ImageKind.JPEG else encode_webp)(pixels, self.quality, xmp=xmp)


LOSSLESS = ImageEncoding()


def decode_own(data: bytes) -> Pixels:
    """Return the pixels of a file that Datagen encoded: [h, w] or [h, w, 3] RGB, uint8 or uint16."""
    return decode(data, max_bytes=len(data), max_pixels=2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedBackground:
    """A background as rendered samples have it, and what the encoder makes of it."""

    pixels: Pixels
    decoded: Pixels


def encoded_background(pixels: Pixels, encoding: ImageEncoding) -> EncodedBackground:
    """Encode a background and decode it again."""
    return EncodedBackground(pixels=pixels, decoded=_like(decode_own(encoding.encode(pixels)), pixels))


def disagreement(image: Pixels, encoded: bytes, mask: Mask, background: EncodedBackground) -> str:
    """Return how an encoded image no longer fits its mask, as a clause; "" if it fits.

    Args:
        image: the image before it was encoded.
        encoded: its lossy file.
        mask: its instance mask.
        background: its background.
    """
    if image.shape != background.pixels.shape:
        return "its background has another size or number of channels"
    before, after = background.decoded.astype(np.float32), _like(decode_own(encoded), image).astype(np.float32)
    error = np.abs(before - background.pixels)
    change = np.abs(after - before)
    tolerance = max(2 * float(error.max(initial=0)), UNSEEN_TONES)
    allowed = np.full(mask.shape, tolerance, np.float32)
    rendered, left = _power(image.astype(np.float32) - background.pixels), _power(after - before)
    noise = float(np.sqrt(_power(error).mean()))
    for number, window in enumerate(ndimage.find_objects(mask), start=1):
        if window is None:
            continue
        inside = mask[window] == number
        full, kept = (float(np.sqrt(power[window][inside].mean())) for power in (rendered, left))
        if kept < HALF * full or kept < MIN_CONTRAST_TO_ERROR * noise:
            return (
                f"object {number} is hardly visible any more: it differs from its background by {kept:.1f} tones "
                f"in place of {full:.1f}, the encoder's error is {noise:.1f}"
            )
        rows, columns = (slice(max(side.start - BLOCK, 0), side.stop + BLOCK) for side in window)
        allowed[rows, columns] = np.maximum(allowed[rows, columns], HALF * full)
    touched = cv2.dilate((mask > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    beyond = (_peak(change) > allowed) & ~touched
    if beyond.any():
        return (
            f"{counted(int(np.count_nonzero(beyond)), 'pixel')} outside its labels changed, by up to "
            f"{_peak(change)[beyond].max():.0f} tones; the encoder's own changes are up to {tolerance:.0f}"
        )
    return ""


def _like(decoded: Pixels, pixels: Pixels) -> Pixels:
    """Return decoded pixels with as many channels as those that were encoded: WebP has no grey."""
    return decoded[:, :, 1] if decoded.ndim > pixels.ndim else decoded


def _peak(change: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(change.max(axis=2) if change.ndim == 3 else change)


def _power(change: npt.NDArray[Any]) -> npt.NDArray[Any]:
    square = np.square(change)
    return np.asarray(square.mean(axis=2) if square.ndim == 3 else square)
