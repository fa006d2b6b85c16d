"""One sample: which background, which concept, in which pose, where, blended how; decided by the sample's own seed.

Draw → pose → place → blend → check, again until a try passes; why tries were turned down is counted. The image is
written in one place only, under the mask, so that nothing else can change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.sample import Instance
from datagen.domain.spec import Json
from datagen.synthesis.backgrounds import Backgrounds
from datagen.synthesis.blending import BLENDS, contrast_to_noise
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.exemplars import Exemplar
from datagen.synthesis.outlines import outlines, tight_box
from datagen.synthesis.parameters import CompositeParameters
from datagen.synthesis.pose import RIM_PX, Posed, apply_pose, draw_pose, fade
from datagen.synthesis.tones import Bools, Floats, channels_as, from_tones, spread, to_tones

#: Tries for one instance on one background before the least bad is taken.
TRIES = 24
#: Share of the mask that must lie inside the area.
INSIDE_SHARE = 0.9
#: Pixels kept free between two instances.
_GAP_PX = 2
#: The golden ratio's fraction: its multiples visit any set of weights evenly (Weyl 1916).
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """An instance laid on a background: the window it changes, its new tones there and the pixels that are its own."""

    top: int
    left: int
    tones: Floats
    mask: Bools
    contrast: float
    label: str
    steps: dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A sample's pixels and labels, and what was decided on the way."""

    image: Picture
    mask: Mask
    instances: tuple[Instance, ...]
    background: int
    steps: dict[str, Json]
    rejected: Counter[str]


class Composer:
    """Makes samples from exemplars and backgrounds; holds nothing that depends on which samples it made before."""

    def __init__(
        self,
        *,
        labels: Sequence[str],
        exemplars: Sequence[Exemplar],
        backgrounds: Backgrounds,
        blend_weights: Mapping[str, float],
        parameters: CompositeParameters,
        order: npt.NDArray[np.int64],
    ) -> None:
        self._backgrounds = backgrounds
        self._parameters = parameters
        self._order = order
        self._labels = [label for label in labels if any(e.label == label for e in exemplars)]
        self._of_label = {label: [e for e in exemplars if e.label == label] for label in self._labels}
        self._shares = {
            label: _cumulative([parameters.concept_weights.get(e.key, 1.0) for e in self._of_label[label]])
            for label in self._labels
        }
        self._blends = list(blend_weights)
        self._blend_shares = _cumulative(list(blend_weights.values()))

    def compose(self, index: int, seed: int) -> Composed:
        """The sample of an index; the same whatever was composed before."""
        chance = np.random.default_rng(seed)
        background = int(self._order[index % len(self._order)])
        picture = self._backgrounds.picture(background)
        height, width = picture.shape[:2]
        image, mask = picture.copy(), np.zeros((height, width), np.uint8)
        wanted = int(chance.integers(self._parameters.instances_min, self._parameters.instances_max + 1))
        rejected: Counter[str] = Counter()
        instances: list[Instance] = []
        steps: list[Json] = []
        for number in range(wanted):
            label = self._labels[(index + number) % len(self._labels)]
            laid = self._lay(index * 7 + number, label, background, image, mask, chance, rejected)
            if laid is None:
                rejected["no room for another"] += 1
                continue
            window = (
                slice(laid.top, laid.top + laid.mask.shape[0]),
                slice(laid.left, laid.left + laid.mask.shape[1]),
            )
            # the one place where pixels are written: under the mask
            image[window][laid.mask] = from_tones(laid.tones, image[window])[laid.mask]
            mask[window][laid.mask] = len(instances) + 1
            box = tight_box(laid.mask)
            instances.append(
                Instance(
                    label=label,
                    box=type(box)(box.x + laid.left, box.y + laid.top, box.width, box.height),
                    outlines=outlines(laid.mask, (laid.left, laid.top)),
                )
            )
            steps.append(dict(laid.steps))
        return Composed(
            image=image,
            mask=mask,
            instances=tuple(instances),
            background=background,
            steps={"instances": steps, "rejected": dict(rejected)},
            rejected=rejected,
        )

    def _lay(
        self,
        turn: int,
        label: str,
        background: int,
        image: Picture,
        taken: Mask,
        chance: np.random.Generator,
        rejected: Counter[str],
    ) -> Laid | None:
        """An instance that passes every check, else the most visible of those tried, else None."""
        area = self._backgrounds.area(background, label, self._parameters.place_strictness)
        empty = not area.any()
        if empty:
            rejected["no area on this background"] += 1
            area = np.ones_like(area)
        places = np.flatnonzero(area)
        # the sequence visits concepts evenly over the indices; a retry draws at random
        even = (turn * _GOLDEN + 0.5) % 1.0
        best: Laid | None = None
        for attempt in range(TRIES):
            chosen = even if attempt == 0 else chance.random()
            exemplar = self._of_label[label][_pick(self._shares[label], chosen)]
            pose = draw_pose(
                chance,
                size_factor=self._parameters.size_factor,
                size_spread=self._parameters.size_spread,
                direction_spread=self._parameters.direction_spread,
            )
            blend = self._blends[_pick(self._blend_shares, chance.random())]
            at, jitter = int(chance.integers(len(places))), chance.random(2)
            posed = apply_pose(exemplar, pose)
            if posed is None:
                rejected["too small to be seen"] += 1
                continue
            spot = _spot(places[at], jitter, area.shape, image.shape[:2], posed.mask.shape)
            if spot is None:
                rejected["cut off by the border"] += 1
                continue
            top, left = spot
            if _share_inside(posed.mask, top, left, area, image.shape[:2]) < INSIDE_SHARE:
                rejected["leaves the area"] += 1
                # towards the end a small area must not make an image impossible
                if attempt < TRIES * 3 // 4:
                    continue
            window = (slice(top, top + posed.mask.shape[0]), slice(left, left + posed.mask.shape[1]))
            if _touches(posed.mask, taken[window]):
                rejected["overlaps another"] += 1
                continue
            tones, contrast = self._blended(image[window], posed, blend)
            laid = Laid(
                top=top,
                left=left,
                tones=tones,
                mask=posed.mask,
                contrast=contrast,
                label=label,
                steps={
                    "label": label,
                    "concept": exemplar.key,
                    "concept_name": exemplar.name,
                    "matte": exemplar.method,
                    "degrees": round(pose.degrees, 2),
                    "scale": round(pose.scale, 4),
                    "mirrored": pose.mirrored,
                    "blend": blend,
                    "contrast": round(contrast, 2),
                    "place": "anywhere" if empty else "area",
                    "tries": attempt + 1,
                },
            )
            if contrast >= self._parameters.min_contrast:
                return laid
            rejected["cannot be seen"] += 1
            if best is None or contrast > best.contrast:
                best = laid
        return best

    def _blended(self, window: npt.NDArray[Any], posed: Posed, blend: str) -> tuple[Floats, float]:
        """The window's new tones and the contrast-to-noise of the change."""
        before = to_tones(window)
        channels = before.shape[2]
        alpha = fade(posed.mask, self._parameters.edge_softness)
        after = BLENDS[blend](before, channels_as(posed.patch, channels), channels_as(posed.clean, channels), alpha)
        after = np.clip(before + (after - before) * np.float32(self._parameters.contrast), 0, 255)
        noise = spread(before - cv2.blur(before, (5, 5)).reshape(before.shape))
        return after.astype(np.float32), contrast_to_noise(before, after, alpha, noise)


def _cumulative(weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """Cumulative shares; weights that are all zero count as equal."""
    values = np.asarray(weights, np.float64)
    values = values if values.sum() > 0 else np.ones_like(values)
    return np.asarray(np.cumsum(values) / values.sum())


def _pick(shares: npt.NDArray[np.float64], at: float) -> int:
    return min(int(np.searchsorted(shares, at, side="right")), len(shares) - 1)


def _spot(
    place: int, jitter: npt.NDArray[np.float64], seen: tuple[int, ...], full: tuple[int, ...], size: tuple[int, ...]
) -> tuple[int, int] | None:
    """Top and left of a window centred on a place of the reduced area; None where its mask would leave the image."""
    row, column = divmod(int(place), seen[1])
    centre_y, centre_x = (row + jitter[0]) * full[0] / seen[0], (column + jitter[1]) * full[1] / seen[1]
    top, left = int(centre_y - size[0] / 2), int(centre_x - size[1] / 2)
    # the rim may not leave the image either: one pixel of surroundings is what makes a mask not cut off
    if top < 0 or left < 0 or top + size[0] > full[0] or left + size[1] > full[1]:
        return None
    return top, left


def _share_inside(mask: Bools, top: int, left: int, area: Bools, full: tuple[int, ...]) -> float:
    """The share of the mask's pixels that lie in the reduced area."""
    ys, xs = np.nonzero(mask)
    step = max(1, len(ys) // 256)
    rows = (ys[::step] + top) * area.shape[0] // full[0]
    columns = (xs[::step] + left) * area.shape[1] // full[1]
    return float(area[rows, columns].mean())


def _touches(mask: Bools, taken: Mask) -> bool:
    if not taken.any():
        return False
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * _GAP_PX + 1, 2 * _GAP_PX + 1), np.uint8))
    return bool(((taken > 0) & (grown > 0)).any())


assert RIM_PX > _GAP_PX, "the rim must hold the gap, or neighbours are not seen"
