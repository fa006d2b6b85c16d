"""One sample: which background, which concept, in which pose, where, blended how; decided by the sample's own seed.

Draw → pose → place → blend → check, again until a try passes; why tries were turned down is counted. The image is
written in one place only, under the mask, so that nothing else can change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.sample import Instance
from datagen.domain.spec import Json
from datagen.synthesis.backgrounds import Backgrounds
from datagen.synthesis.blending import BLENDS, Laying
from datagen.synthesis.context import fitting_places
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.exemplars import Exemplar
from datagen.synthesis.law import Law
from datagen.synthesis.outlines import outlines, tight_box
from datagen.synthesis.parameters import CompositeParameters
from datagen.synthesis.pose import RIM_PX, Posed, PosePrior, apply_pose, draw_pose, fade
from datagen.synthesis.seeing import LEAST_VISIBLE, visible
from datagen.synthesis.tones import Bools, Floats, channels_as, from_tones, to_tones

#: Tries for one instance on one background before the least bad is taken.
TRIES = 24
#: Tries made with the concept whose turn it is; later ones draw another, so that a fussy one cannot spoil an image.
_FAITHFUL = 12
#: Share of the mask that must lie inside the area, and what is put up with in the last tries.
INSIDE_SHARE, INSIDE_SHARE_AT_LAST = 0.9, 0.5
#: A place whose mismatch exceeds this share of the surroundings' own spread, plus these tones, does not fit.
_WORST_SHARE, _WORST_TONES = 0.5, 15.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned of one label: its exemplars, how they lie and how they look."""

    exemplars: Sequence[Exemplar]
    prior: PosePrior
    law: Law


class Composer:
    """Makes samples from exemplars and backgrounds; holds nothing that depends on which samples it made before."""

    def __init__(
        self,
        *,
        learned: Mapping[str, Learned],
        backgrounds: Backgrounds,
        parameters: CompositeParameters,
        order: npt.NDArray[np.int64],
    ) -> None:
        self._backgrounds = backgrounds
        self._parameters = parameters
        self._order = order
        self._labels = list(learned)
        #: how unlike its own surroundings a place may be: as unlike as places in its own photo are, and some
        self._worst = {
            e.key: _WORST_SHARE * float(e.clean.mean(axis=2).std()) + _WORST_TONES
            for one in learned.values()
            for e in one.exemplars
        }
        self._learned = dict(learned)
        self._shares = {
            label: _cumulative([parameters.concept_weights.get(e.key, 1.0) for e in one.exemplars])
            for label, one in learned.items()
        }
        self._blends = {
            label: _cumulative([w * parameters.blend_weights.get(name, 1.0) for name, w in one.law.weights.items()])
            for label, one in learned.items()
        }

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
            laid = self._try(
                label, even if attempt < _FAITHFUL else None, attempt, image, taken, area, places, chance, rejected
            )
            if laid is None:
                continue
            laid.steps["place"] = "anywhere" if empty else "area"
            if laid.contrast >= self._parameters.min_contrast:
                return laid
            rejected["cannot be seen"] += 1
            if best is None or laid.contrast > best.contrast:
                best = laid
        return best

    def _try(
        self,
        label: str,
        concept: float | None,
        attempt: int,
        image: Picture,
        taken: Mask,
        area: Bools,
        places: npt.NDArray[np.intp],
        chance: np.random.Generator,
        rejected: Counter[str],
    ) -> Laid | None:
        """One try; None, with the reason counted, where it cannot be laid."""
        p, learned = self._parameters, self._learned[label]
        drawn = chance.random()
        exemplar = learned.exemplars[_pick(self._shares[label], drawn if concept is None else concept)]
        pose = draw_pose(
            learned.prior,
            chance,
            size_factor=p.size_factor,
            size_spread=p.size_spread,
            direction_spread=p.direction_spread,
        )
        blend = list(learned.law.weights)[_pick(self._blends[label], chance.random())]
        slope = float(np.clip(learned.law.slope + chance.normal() * learned.law.doubt, 0, 1))
        at, jitter = int(chance.integers(len(places))), chance.random(2)
        posed = apply_pose(exemplar, pose, crisp=learned.law.two_level)
        if posed is None:
            rejected["too small to be seen"] += 1
            return None
        spot = _spot(places[at], jitter, area.shape, image.shape[:2], posed.mask.shape)
        if spot is None:
            rejected["larger than the background"] += 1
            return None
        # towards the end, a small area or an odd background must not make an image impossible
        patient = attempt < TRIES * 3 // 4
        strictness = p.context_strictness if patient else 0.0
        fit = fitting_places(image, posed, *spot, strictness)
        if fit.mismatch > self._worst[exemplar.key] and strictness > 0:
            rejected["surroundings do not fit"] += 1
            return None
        corners = _centred_inside(fit.corners, posed.mask.shape, area, image.shape[:2])
        pick = chance.random()
        if not len(corners):
            rejected["leaves the area"] += 1
            return None
        top, left = (int(v) for v in corners[int(pick * len(corners))])
        share = _share_inside(posed.mask, top, left, area, image.shape[:2])
        if share < (INSIDE_SHARE if patient else INSIDE_SHARE_AT_LAST):
            rejected["leaves the area"] += 1
            return None
        window = (slice(top, top + posed.mask.shape[0]), slice(left, left + posed.mask.shape[1]))
        if _touches(posed.mask, taken[window]):
            rejected["overlaps another"] += 1
            return None
        before = to_tones(image[window])
        tones = self._blended(before, posed, blend, slope)
        seen, contrast = visible(before, tones, posed.mask)
        if seen.sum() < LEAST_VISIBLE * posed.mask.sum():
            rejected["cannot be seen"] += 1
            return None
        return Laid(
            top=top,
            left=left,
            tones=tones,
            mask=_trimmed(seen, posed.mask) if learned.law.two_level else posed.mask,
            contrast=contrast,
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
                "mismatch": round(fit.mismatch, 2),
                "tries": attempt + 1,
            },
        )

    def _blended(self, before: Floats, posed: Posed, blend: str, slope: float) -> Floats:
        """The window's new tones [h, w, c]."""
        channels = before.shape[2]
        laying = Laying(
            background=before,
            patch=channels_as(posed.patch, channels),
            clean=channels_as(posed.clean, channels),
            mask=posed.mask,
            alpha=fade(posed.mask, self._parameters.edge_softness),
            slope=slope,
        )
        changed = (BLENDS[blend](laying) - before) * np.float32(self._parameters.contrast)
        return np.asarray(np.clip(before + changed, 0, 255), np.float32)


def _trimmed(seen: Bools, mask: Bools) -> Bools:
    """The mask where the picture changed: what had the concept's tone already is not labelled as it."""
    solid = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.asarray((solid > 0) & mask)


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
    """Top and left of a window centred on a place of the reduced area, moved into the image; None: too big."""
    row, column = divmod(int(place), seen[1])
    centre_y, centre_x = (row + jitter[0]) * full[0] / seen[0], (column + jitter[1]) * full[1] / seen[1]
    if size[0] > full[0] or size[1] > full[1]:
        return None
    # the rim stays inside, too: surroundings on every side are what makes a mask not cut off
    return (
        int(np.clip(centre_y - size[0] / 2, 0, full[0] - size[0])),
        int(np.clip(centre_x - size[1] / 2, 0, full[1] - size[1])),
    )


def _centred_inside(
    corners: npt.NDArray[np.int64], size: tuple[int, ...], area: Bools, full: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """The corners [n, 2] whose window's middle lies in the reduced area."""
    middles = corners + np.array([size[0] // 2, size[1] // 2])
    rows, columns = (middles[:, axis] * area.shape[axis] // full[axis] for axis in (0, 1))
    return np.asarray(corners[area[rows, columns]])


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
