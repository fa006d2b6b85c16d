"""An aligned clean image: among the backgrounds, a photo of the same part without the thing in it.

Where there is one, what lies under the thing is known and need not be guessed, and the thing is what differs from it.
Backgrounds of the photo's own size are compared as thumbnails, the likest are aligned by their phases (Kuglin & Hines
1975) and by the enhanced correlation coefficient (Evangelidis & Psarakis, PAMI 2008), and one is believed only if it is
low in difference everywhere but in the boxes. Most studies have none; then nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.domain.inputs import ImageRef
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.engine import Picture, Pictures
from datagen.synthesis.intensity import Bools, Floats, channels_as, grey, to_tones

#: Photos taken alike have sizes this nearly alike.
_SIZE_TOLERANCE = 0.03
#: Pixels of backgrounds decoded for the search: a fit on large photos must not wait for it.
_DECODED_PX = 24 * 2**20
#: Longest side of a thumbnail and of what is aligned, pixels.
_THUMB_PX, _ALIGNED_PX = 32, 160
#: Correlation of thumbnails below which two photos are not of one part, and how many are looked at closely.
_ALIKE, _LOOKED_AT = 0.75, 1
#: Correlation outside the boxes that an aligned photo must reach, of its tones and of its fine structure alone: two
#: parts of one kind may be lit alike and have their borders in one place, but not the same grain and traces.
_SAME_TONES, _SAME_STRUCTURE = 0.85, 0.6
#: Blur that parts fine structure from light, pixels of what is aligned.
_LIGHT_BLUR = 3.0
#: Steps of the alignment and what it may still gain to go on.
_ECC = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A clean photo and the affine matrix [2, 3] from the concept photo's pixels to its own."""

    name: str
    picture: Picture
    matrix: npt.NDArray[np.float64]

    def window(self, frame: Frame, channels: int) -> Floats:
        """The concept photo's window as the clean photo shows it, tones [h, w, c]; mirrored beyond its borders."""
        matrix = self.matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ np.array([frame.left, frame.top], np.float64)
        rows, columns = frame.shape
        corners = matrix[:, :2] @ np.array([[0, columns, 0, columns], [0, 0, rows, rows]]) + matrix[:, 2:]
        # only what the window needs is turned into floats
        left, top = (max(0, int(v) - 2) for v in np.floor(corners.min(axis=1)))
        right, bottom = (int(v) + 3 for v in np.ceil(corners.max(axis=1)))
        cut = self.picture[top:bottom, left:right]
        if not cut.size:
            cut, left, top = self.picture[:1, :1], 0, 0
        matrix[:, 2] -= (left, top)
        shown = cv2.warpAffine(
            to_tones(cut),
            matrix,
            (columns, rows),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        return channels_as(shown.reshape(rows, columns, -1), channels)


class Templates:
    """The backgrounds of a study, searched for clean photos of the concepts' parts."""

    def __init__(self, refs: Sequence[ImageRef], pictures: Pictures) -> None:
        self._refs, self._pictures = tuple(refs), pictures
        self._thumbs: dict[str, Floats] = {}
        self._left = _DECODED_PX

    def aligned(self, picture: Picture, boxes: Sequence[Box], name: str) -> Template | None:
        """The background that shows the same part as ``picture``, things aside; None where none surely does.

        Args:
            picture: the concept photo.
            boxes: where things lie in it; they are not compared.
            name: its name: backgrounds named alike are looked at first.
        """
        height, width = picture.shape[:2]
        alike = [
            ref
            for ref in self._refs
            if abs(ref.width / width - 1) <= _SIZE_TOLERANCE and abs(ref.height / height - 1) <= _SIZE_TOLERANCE
        ]
        alike.sort(key=lambda ref: -_shared_start(ref.name, name))
        thumb = _small(picture, _THUMB_PX)
        scored = []
        for ref in alike:
            other = self._thumb(ref)
            if other is not None:
                scored.append((_likeness(thumb, other), ref))
        scored.sort(key=lambda one: (-one[0], one[1].digest))
        for likeness, ref in scored[:_LOOKED_AT]:
            if likeness < _ALIKE:
                break
            clean = self._pictures.load(ref)
            matrix = _alignment(picture, clean, boxes)
            if matrix is not None:
                return Template(name=ref.name, picture=clean, matrix=matrix)
        return None

    def _thumb(self, ref: ImageRef) -> Floats | None:
        if ref.digest not in self._thumbs:
            if ref.width * ref.height > self._left:
                return None
            self._left -= ref.width * ref.height
            self._thumbs[ref.digest] = _small(self._pictures.load(ref), _THUMB_PX)
        return self._thumbs[ref.digest]


def _shared_start(one: str, other: str) -> int:
    """Characters two names begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _small(picture: npt.NDArray[Any], longest: int) -> Floats:
    """Grey tones [h, w], reduced to the longest side."""
    shrink = min(1.0, longest / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
    small = picture if shrink == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(to_tones(grey(small))[:, :, 0])


def _likeness(one: Floats, other: Floats) -> float:
    """The highest correlation of two thumbnails over all small shifts, -1 to 1."""
    rows, columns = (min(a, b) for a, b in zip(one.shape, other.shape, strict=True))
    margin = max(1, min(rows, columns) // 8)
    inner = one[margin : rows - margin, margin : columns - margin]
    if not inner.size or float(inner.std()) < 1e-3 or float(other.std()) < 1e-3:
        return 0.0
    return float(
        cv2.matchTemplate(np.ascontiguousarray(other), np.ascontiguousarray(inner), cv2.TM_CCOEFF_NORMED).max()
    )


def _alignment(picture: Picture, clean: Picture, boxes: Sequence[Box]) -> npt.NDArray[np.float64] | None:
    """The matrix from the photo's pixels to the clean one's; None where they do not show one part."""
    one, other = _small(picture, _ALIGNED_PX), _small(clean, _ALIGNED_PX)
    shape = (min(one.shape[0], other.shape[0]), min(one.shape[1], other.shape[1]))
    one, other = one[: shape[0], : shape[1]], other[: shape[0], : shape[1]]
    if min(shape) < 16:
        return None
    scale = max(picture.shape[:2]) / max(_small(picture, _ALIGNED_PX).shape)
    outside = np.full(shape, 255, np.uint8)
    for box in boxes:
        # a pixel more on each side: the thing's blur
        rows = slice(max(0, int(box.y / scale) - 1), int(box.bottom / scale) + 2)
        columns = slice(max(0, int(box.x / scale) - 1), int(box.right / scale) + 2)
        outside[rows, columns] = 0
    if not outside.any():
        return None
    (dx, dy), _ = cv2.phaseCorrelate(
        one.astype(np.float64), other.astype(np.float64), cv2.createHanningWindow(shape[::-1], cv2.CV_64F)
    )
    matrix: Floats = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    try:
        _, matrix = cv2.findTransformECC(one, other, matrix, cv2.MOTION_EUCLIDEAN, _ECC, outside, 5)
    except cv2.error:
        return None  # it did not converge: not the same part
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved: Floats = cv2.warpAffine(other, matrix, shape[::-1], flags=flags, borderValue=float("nan"))
    seen: Bools = (outside > 0) & np.isfinite(moved)
    if seen.mean() < 0.5:
        return None
    if _correlation(one, moved, seen) < _SAME_TONES:
        return None
    filled = np.where(np.isfinite(moved), moved, one)
    fine, other_fine = (tones - cv2.GaussianBlur(tones, (0, 0), _LIGHT_BLUR) for tones in (one, filled))
    if _correlation(fine, other_fine, seen) < _SAME_STRUCTURE:
        return None
    found = np.asarray(matrix, np.float64)
    # pixel centres lie half a pixel in, at both scales
    found[:, 2] = scale * (found[:, 2] + 0.5 * found[:, :2].sum(axis=1) - 0.5) - 0.5 * found[:, :2].sum(axis=1) + 0.5
    return found


def _correlation(one: Floats, other: Floats, where: Bools) -> float:
    a, b = (tones[where] - tones[where].mean() for tones in (one, other))
    return float((a * b).sum() / np.sqrt(max(float((a * a).sum() * (b * b).sum()), 1e-6)))
