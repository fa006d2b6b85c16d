"""Reference alignment: finds, among the backgrounds, a photo of the same part without the concept, and aligns it.

With such a photo, the background behind the concept is known. The concept is the difference from it. The backgrounds
that have the photo's size are compared with it as thumbnails. The most similar one is aligned by phase correlation
(Kuglin & Hines 1975) and by the enhanced correlation coefficient (Evangelidis & Psarakis, PAMI 2008). An alignment is
accepted only if the photos correlate outside the boxes. Most studies have no such photo; they use the fills of
``background_inpainting`` alone."""

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

#: Largest relative difference in size between photos that are compared.
_SIZE_TOLERANCE = 0.03
#: Maximum number of background pixels that are decoded for the search; it limits the time of a fit on large photos.
_DECODED_PX = 24 * 2**20
#: Longest side in pixels of a thumbnail, and of the pictures that are aligned.
_THUMB_PX, _ALIGNED_PX = 32, 160
#: Minimum correlation of two thumbnails of the same part, and the number of backgrounds that are aligned.
_ALIKE, _LOOKED_AT = 0.75, 1
#: Minimum correlation of an aligned photo with the concept's photo outside the boxes: of the tones, and of the fine
#: structure alone. Two parts of one kind may have the same lighting and borders, but not the same grain and traces.
_SAME_TONES, _SAME_STRUCTURE = 0.85, 0.6
#: Standard deviation of the blur that separates fine structure from lighting, in pixels of the aligned pictures.
_LIGHT_BLUR = 3.0
#: Stopping criteria of the alignment: the maximum number of iterations, and the minimum gain of an iteration.
_ECC = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 25, 1e-4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A clean photo, and the affine matrix [2, 3] from pixels of the concept photo to pixels of the clean photo."""

    name: str
    picture: Picture
    matrix: npt.NDArray[np.float64]

    def window(self, frame: Frame, channels: int) -> Floats:
        """Return the clean photo's tones [h, w, c] in the concept photo's window ``frame``.

        Beyond the borders of the clean photo, its pixels are mirrored.
        """
        matrix = self.matrix.copy()
        matrix[:, 2] += matrix[:, :2] @ np.array([frame.left, frame.top], np.float64)
        rows, columns = frame.shape
        corners = matrix[:, :2] @ np.array([[0, columns, 0, columns], [0, 0, rows, rows]]) + matrix[:, 2:]
        # convert only the pixels that the window needs to floats
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
    """Searches a study's backgrounds for clean photos of the parts that the concept photos show."""

    def __init__(self, refs: Sequence[ImageRef], pictures: Pictures) -> None:
        self._refs, self._pictures = tuple(refs), pictures
        self._thumbs: dict[str, Floats] = {}
        self._budget = _DECODED_PX

    def aligned(self, picture: Picture, boxes: Sequence[Box], name: str) -> Template | None:
        """Return the background that shows the same part as ``picture``, aligned with it; None if none does.

        Args:
            picture: the concept photo.
            boxes: the boxes of the concepts in it; their pixels are not compared.
            name: the photo's name; backgrounds with similar names are examined first.
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
        scored.sort(key=lambda pair: (-pair[0], pair[1].digest))
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
            if ref.width * ref.height > self._budget:
                return None
            self._budget -= ref.width * ref.height
            self._thumbs[ref.digest] = _small(self._pictures.load(ref), _THUMB_PX)
        return self._thumbs[ref.digest]


def _shared_start(name: str, other: str) -> int:
    """Return the length in characters of the common prefix of two names."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(name, other, strict=False)))


def _small(picture: npt.NDArray[Any], longest: int) -> Floats:
    """Return the grey tones [h, w] of a picture whose longest side is reduced to ``longest`` pixels."""
    shrink = min(1.0, longest / max(picture.shape[:2]))
    size = (max(1, round(picture.shape[1] * shrink)), max(1, round(picture.shape[0] * shrink)))
    small = picture if shrink == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(to_tones(grey(small))[:, :, 0])


def _likeness(tones: Floats, other: Floats) -> float:
    """Return the highest correlation of two thumbnails, from -1 to 1, over all small shifts."""
    rows, columns = (min(a, b) for a, b in zip(tones.shape, other.shape, strict=True))
    margin = max(1, min(rows, columns) // 8)
    inner = tones[margin : rows - margin, margin : columns - margin]
    if not inner.size or float(inner.std()) < 1e-3 or float(other.std()) < 1e-3:
        return 0.0
    # numpy is four times as fast as OpenCV's matchTemplate on so few pixels
    shifted = np.lib.stride_tricks.sliding_window_view(other, inner.shape).reshape(-1, inner.size)
    shifted = shifted - shifted.mean(axis=1, keepdims=True)
    wanted = (inner - inner.mean()).ravel()
    lengths = np.sqrt(np.einsum("ij,ij->i", shifted, shifted) * (wanted @ wanted))
    return float((shifted @ wanted / np.maximum(lengths, 1e-6)).max())


def _alignment(picture: Picture, clean: Picture, boxes: Sequence[Box]) -> npt.NDArray[np.float64] | None:
    """Return the matrix [2, 3] from the photo's pixels to the clean photo's; None if they show different parts."""
    photo, reference = _small(picture, _ALIGNED_PX), _small(clean, _ALIGNED_PX)
    shape = (min(photo.shape[0], reference.shape[0]), min(photo.shape[1], reference.shape[1]))
    photo, reference = photo[: shape[0], : shape[1]], reference[: shape[0], : shape[1]]
    if min(shape) < 16:
        return None
    scale = max(picture.shape[:2]) / max(_small(picture, _ALIGNED_PX).shape)
    outside = np.full(shape, 255, np.uint8)
    for box in boxes:
        # one more pixel on each side for the concept's blur
        rows = slice(max(0, int(box.y / scale) - 1), int(box.bottom / scale) + 2)
        columns = slice(max(0, int(box.x / scale) - 1), int(box.right / scale) + 2)
        outside[rows, columns] = 0
    if not outside.any():
        return None
    (dx, dy), _ = cv2.phaseCorrelate(
        photo.astype(np.float64), reference.astype(np.float64), cv2.createHanningWindow(shape[::-1], cv2.CV_64F)
    )
    matrix: Floats = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    try:
        _, matrix = cv2.findTransformECC(photo, reference, matrix, cv2.MOTION_EUCLIDEAN, _ECC, outside, 5)
    except cv2.error:
        return None  # no convergence: not the same part
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved: Floats = cv2.warpAffine(reference, matrix, shape[::-1], flags=flags, borderValue=float("nan"))
    compared: Bools = (outside > 0) & np.isfinite(moved)
    if compared.mean() < 0.5:
        return None
    if _correlation(photo, moved, compared) < _SAME_TONES:
        return None
    filled = np.where(np.isfinite(moved), moved, photo)
    fine, other_fine = (tones - cv2.GaussianBlur(tones, (0, 0), _LIGHT_BLUR) for tones in (photo, filled))
    if _correlation(fine, other_fine, compared) < _SAME_STRUCTURE:
        return None
    full_matrix = np.asarray(matrix, np.float64)
    # pixel centres have an offset of half a pixel at both scales
    full_matrix[:, 2] = (
        scale * (full_matrix[:, 2] + 0.5 * full_matrix[:, :2].sum(axis=1) - 0.5)
        - 0.5 * full_matrix[:, :2].sum(axis=1)
        + 0.5
    )
    return full_matrix


def _correlation(picture: Floats, other: Floats, where: Bools) -> float:
    a, b = (tones[where] - tones[where].mean() for tones in (picture, other))
    return float((a * b).sum() / np.sqrt(max(float((a * a).sum() * (b * b).sum()), 1e-6)))
