"""Crops for inpainting: window, paintable area and resampling in both directions. Uses numpy and OpenCV only.

In a model's latents, a concept of 12 pixels spans only one and a half positions. Therefore a window around it is
enlarged to the model's resolution, inpainted, and scaled back. Pixels outside the paintable area (``room``) are never
changed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import Bools, Floats, channels_as, to_tones

#: Width of the room around the outline that composite chose: the larger of this many pixels, and this share of the
#: outline's longer side.
_ROOM_PX, _ROOM_SHARE = 2, 0.1
#: Minimum side of a window, pixels, so that it contains surroundings.
_MIN_SIDE = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place where one instance is inpainted.

    ``frame`` is the window in the photo. ``laid`` [h, w] is the mask in it that composite chose. ``room`` [h, w] is
    true on the pixels that may change.
    """

    frame: Frame
    laid: Bools
    room: Bools


def place_of(mask: Mask, instance: int, context: float) -> Place:
    """Return the place of an instance; its room excludes the other instances.

    Args:
        mask: the sample's mask of instance numbers, [h, w].
        instance: the instance's number, from 1.
        context: side of the window, in multiples of the instance's longer side.
    """
    ys, xs = np.nonzero(mask == instance)
    longer = int(max(np.ptp(ys), np.ptp(xs))) + 1
    frame = square(
        float(xs.min() + xs.max() + 1) / 2,
        float(ys.min() + ys.max() + 1) / 2,
        max(_MIN_SIDE, context * longer),
        mask.shape[1],
        mask.shape[0],
    )
    window = mask[frame.slices]
    laid = window == instance
    grow = max(_ROOM_PX, round(_ROOM_SHARE * longer))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    others = ((window > 0) & ~laid).astype(np.uint8)
    room = (cv2.dilate(laid.astype(np.uint8), kernel) > 0) & (cv2.dilate(others, np.ones((3, 3), np.uint8)) == 0)
    return Place(frame=frame, laid=laid, room=room | laid)


def square(x: float, y: float, side: float, width: int, height: int) -> Frame:
    """Return the frame of a square of ``side`` pixels around (x, y), shifted so that it lies in the image.

    The frame is clipped if the image, of ``width`` by ``height`` pixels, is smaller.
    """
    across, down = (min(round(side), limit) for limit in (width, height))
    left = min(max(round(x - across / 2), 0), width - across)
    top = min(max(round(y - down / 2), 0), height - down)
    return Frame(left=left, top=top, right=left + across, bottom=top + down)


def enlarged(picture: Picture, frame: Frame, resolution: int) -> Floats:
    """Return a window of a picture as RGB [resolution, resolution, 3], from 0 to 1."""
    tones = channels_as(to_tones(picture[frame.slices]), 3)
    return np.clip(_resized(tones, resolution, resolution) / np.float32(255), 0, 1)


def enlarged_mask(mask: Bools, resolution: int) -> Floats:
    """Return a window's mask as [resolution, resolution], each value 0 or 1."""
    return np.asarray(
        cv2.resize(mask.astype(np.float32), (resolution, resolution), interpolation=cv2.INTER_NEAREST), np.float32
    )


def reduced(painted: Floats, place: Place, channels: int) -> Floats:
    """Return a painted crop as tones [h, w, channels] of the place's window.

    ``painted`` is [resolution, resolution, 3], from 0 to 1.
    """
    height, width = place.frame.shape
    return channels_as(np.clip(_resized(painted * np.float32(255), height, width), 0, 255), channels)


def _resized(tones: Floats, height: int, width: int) -> Floats:
    shrinks = height * width < tones.shape[0] * tones.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(tones, np.float32), (width, height), interpolation=method)
    return np.asarray(resized.reshape(height, width, -1), np.float32)
