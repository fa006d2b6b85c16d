"""From a box to the thing in it: several mattes, each scored, the best first.

No method wins everywhere (a round hole suits GrabCut, a faint crack the line, a circuit the two levels), so all are
run and judged by the contrast along the boundary they draw. An outline drawn by the annotator needs none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Polygon
from datagen.synthesis.composite.extraction.background_inpainting import Clean, Frame, membrane
from datagen.synthesis.composite.extraction.line_segmentation import hysteresis, line_matte, round_the
from datagen.synthesis.intensity import Bools, Floats, spread
from datagen.synthesis.masks import rasterize

#: A matte that covers less of its box than this is a speck, one that covers more is the box itself.
LEAST_SHARE, MOST_SHARE = 0.04, 0.97
#: What differs in a box that holds a line covers no more than this share of it.
_LINE_FILLS = 0.35
#: A fringe narrower than this many pixels is the blur of the lens; a wider one is part of the thing.
_FRINGE_PX = 2
#: A ring belongs to the fringe when this share of it differs visibly.
_FRINGE_ROUND = 0.6
#: The fringe ends where the difference falls under this share of the peak, or to this many times what
#: the clean fill is off by at its worst.
_FRINGE_PEAK, _FRINGE_WORST = 0.1, 0.8
#: A pixel that differs by at least this share of what the thing differs by is wholly the thing.
_WHOLLY = 0.6
#: A pixel that differs the thing's way by this share of what the thing differs by is kept as it is, fringe and all.
_SAME_WAY = 0.05
#: Pixels of a sharp edge that may show some of what is behind.
_MIXED_PX = 2
#: Scale in pixels of what noise does to a matte's edge.
_TEETH_PX = 1.5
#: Beyond this contrast two boundaries are equally clear, and their fit in the box decides.
_CLEAR = 5.0
#: On a picture of two tones, the other tone is exact to the pixel where other methods smooth: its matte scores so many
#: times as much.
_EXACT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Matte:
    """Which pixels of a window are the thing.

    ``score`` is how sharply the boundary parts inside from outside, in standard deviations of the two sides; ``edge``
    the width in pixels over which the thing's difference from its surroundings falls from 75 % to 25 %.
    """

    method: str
    mask: Bools
    score: float
    edge: float = 0.0


def drawn_matte(outline: Sequence[Polygon], frame: Frame) -> Matte | None:
    """The matte of an outline drawn by the annotator (image pixels); None where it covers no pixel of the window."""
    mask = np.zeros(frame.shape, bool)
    for polygon in outline:
        mask |= rasterize(np.asarray(polygon.points) - (frame.left, frame.top), frame.shape)
    return Matte(method="drawn", mask=mask, score=float("inf")) if mask.any() else None


def mattes(tones: Floats, clean: Clean, hole: Bools) -> tuple[Matte, ...]:
    """The mattes of what is in ``hole``, best first; at least one.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        clean: the same window without the thing.
        hole: true inside the box, [h, w].
    """
    difference = np.sqrt(np.square(tones - clean.tones).sum(axis=2))
    noise = _noise(tones, clean, hole)
    residual = _residual(difference, noise, clean.worst, hole)
    hint = _ellipse(hole, 0.75) if residual is None else residual
    # a line fills little of its box: where much differs, none is looked for
    filled = residual is not None and residual.sum() > _LINE_FILLS * hole.sum()
    line = None if filled else line_matte(tones, clean.tones, hole)
    made = {
        "line": None if line is None else _solid(line),
        "residual": residual,
        "grabcut": _grabcut(tones, hole, hint),
        "grabcut on residual": _grabcut(np.dstack([tones.mean(axis=2), difference, difference]), hole, hint),
        "two-level": _two_level(tones, clean.tones, hole),
        "template difference": _template_difference(tones, clean, hole) if clean.method == "template" else None,
    }
    found = []
    for name, mask in made.items():
        if mask is None:
            continue
        grown = mask if name == "two-level" else _grown(mask, difference, clean.worst, hole)
        if name not in ("line", "two-level"):  # noise has cut no teeth into these, and they have parts as thin
            rounded = _solid(_rounded(grown))
            grown = grown if rounded is None else rounded
        if LEAST_SHARE <= grown.sum() / hole.sum() <= MOST_SHARE:
            # a matte is judged before it takes in its fringe: the softer the edge, the less contrast at its end
            clear = min(_contrast(difference, mask, noise), _CLEAR)
            score = clear * _fits(mask, hole) * (_EXACT if name == "two-level" else 1.0)
            found.append(Matte(method=name, mask=grown, score=score, edge=_edge_width(difference, mask, hole)))
    if not found:
        return (Matte(method="box", mask=_ellipse(hole), score=0.0),)
    return tuple(sorted(found, key=lambda matte: (-matte.score, matte.method)))


def agreed(candidates: Sequence[tuple[Matte, ...]], holes: Sequence[Bools]) -> list[tuple[Matte, ...]]:
    """The candidates of several boxes of one label, ranked again by how well they agree with one another.

    People draw boxes round the same thing alike: a matte that fills its box much more, or much less, than the others'
    mattes fill theirs loses score.
    """
    first = [ranked[0] for ranked in candidates]
    shares = [m.mask.sum() / h.sum() for m, h in zip(first, holes, strict=True) if m.method not in ("box", "drawn")]
    if len(shares) < 3:
        return list(candidates)
    usual = float(np.median(shares))

    def score(matte: Matte, hole: Bools) -> float:
        off = float(np.log(max(matte.mask.sum() / hole.sum(), 1e-3) / usual))
        return matte.score * float(np.exp(-0.5 * (off / 0.7) ** 2))

    return [
        tuple(sorted(ranked, key=lambda m, h=hole: (-score(m, h), m.method)))  # type: ignore[misc]
        for ranked, hole in zip(candidates, holes, strict=True)
    ]


def to_the_box(ranked: Sequence[Matte], hole: Bools) -> tuple[Matte, ...]:
    """The mattes of a thing without a sharp edge, with one that reaches to its box put first.

    Where such a thing ends cannot be read from its pixels; the box is what the annotator says of it.
    """
    best = ranked[0]
    reaching = Matte(
        method=f"{best.method} to the box", mask=best.mask | _ellipse(hole), score=best.score, edge=best.edge
    )
    return (reaching, *ranked)


def unmixed(tones: Floats, clean: Floats, mask: Bools, measured: Bools, *, soft: bool) -> tuple[Floats, Floats]:
    """How much of each pixel is the thing, [h, w] in 0..1, and the window [h, w, c] with nothing but it that is new.

    At an edge the lens mixes the thing with what is behind it. Pixels that are wholly the thing say how it looks, and
    the tones are carried on from them to the others; between those tones and the clean ones lies a mixed pixel, and
    where (the compositing equation with a known background, Smith and Blinn 1996). What differs the other way, such as
    a halo or a miss of the clean fill, is no part of the thing.

    Args:
        tones: the window as photographed, [h, w, c].
        clean: the same window without the thing.
        mask: what is labelled as the thing.
        measured: what of it stands out by its pixels.
        soft: whether its edges are; then only its core is wholly the thing, else all but a rim of the mask.
    """
    difference = tones - clean
    size: Floats = cv2.GaussianBlur(np.sqrt(np.square(difference).sum(axis=2)), (0, 0), 1.0 if soft else 0.6)
    if soft:
        whole = measured & (size >= _WHOLLY * float(np.quantile(size[mask], 0.9)))
    else:
        side = 4 * _MIXED_PX + 1  # the mixed pixels, and as many beyond them
        near = cv2.dilate(np.where(mask, size, 0), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        whole = mask & ((depth > _MIXED_PX) | (size >= _WHOLLY * near))
    if not whole.any():
        return np.ones(mask.shape, np.float32), tones
    wholly = membrane(tones, whole) - clean
    share = (difference * wholly).sum(axis=2) / np.maximum(np.square(wholly).sum(axis=2), 1.0)
    kept = np.where(whole, 1, np.clip(cv2.GaussianBlur(share, (0, 0), 1.0) / _SAME_WAY, 0, 1))
    opacity = np.where(whole, 1, np.clip(share, 0, 1))
    return opacity.astype(np.float32), np.asarray(clean + kept[:, :, None] * difference, np.float32)


def _edge_width(difference: Floats, mask: Bools, hole: Bools) -> float:
    """Pixels between the outermost rings of the mask's distance that show 75 % and 25 % of the difference."""
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    depth = np.where(mask, 0.5 - cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), outside - 0.5)
    rings = np.floor(depth[hole]).astype(int)
    first = int(rings.min())
    counts = np.bincount(rings - first)
    profile = np.bincount(rings - first, weights=difference[hole]) / np.maximum(counts, 1)
    top = float(np.quantile(difference[mask], 0.8))
    reached = [np.flatnonzero(profile >= share * top) for share in (0.75, 0.25)]
    return float(reached[1][-1] - reached[0][-1]) if len(reached[0]) and len(reached[1]) else 0.0


def _noise(tones: Floats, clean: Clean, hole: Bools) -> float:
    """What a difference must exceed to mean anything: the fill's own error, and half the texture round the box."""
    texture = np.sqrt(np.square(tones - cv2.blur(tones, (5, 5)).reshape(tones.shape)).sum(axis=2))
    rough = float(np.median(texture[~hole])) if (~hole).any() else 0.0
    return max(clean.error, 0.5 * rough, 1.0)


def _residual(difference: Floats, noise: float, worst: float, hole: Bools) -> Bools | None:
    """What differs from the clean fill: hysteresis between the fill's worst misses and half the peak."""
    smooth: Floats = cv2.GaussianBlur(difference, (0, 0), 0.8)
    peak = float(np.quantile(smooth[hole], 0.95))
    if peak < 2 * noise:
        return None
    high, low = max(0.5 * peak, 2 * noise), max(0.3 * peak, 1.5 * noise, worst)
    weak = (smooth > low) & hole
    return _solid(hysteresis(weak, (smooth > high) & hole))


def _template_difference(tones: Floats, clean: Clean, hole: Bools) -> Bools | None:
    """What differs from a clean photo of the same part, however faintly: what lies under the thing is known.

    A pixel differs by as much as it lies beyond all clean tones next to it, so that an edge a pixel off is no thing.
    """
    kernel = np.ones((3, 3), np.uint8)
    low, high = (f(clean.tones, kernel).reshape(clean.tones.shape) for f in (cv2.erode, cv2.dilate))
    beyond = np.maximum(np.maximum(tones - high, low - tones), 0)
    difference: Floats = cv2.GaussianBlur(np.sqrt(np.square(beyond).sum(axis=2)), (0, 0), 0.8)
    outside = difference[~hole]
    least = max(float(np.quantile(outside, 0.99)) if outside.size else 0.0, 2.0)
    peak = float(np.quantile(difference[hole], 0.95))
    if peak < 2 * least:
        return None
    strong = (difference > max(0.4 * peak, 2 * least)) & hole
    kept = hysteresis((difference > max(0.15 * peak, least)) & hole, strong)
    # the pixel that the tolerance took from the thing's rim, where it still differs plainly
    plain = np.sqrt(np.square(tones - clean.tones).sum(axis=2)) > max(0.5 * peak, least)
    return _solid(kept | (cv2.dilate(kept.astype(np.uint8), kernel).astype(bool) & plain & hole))


def _grown(mask: Bools, difference: Floats, worst: float, hole: Bools) -> Bools:
    """The matte out to where the thing can no longer be told from its surroundings: a soft edge belongs to it.

    A soft edge goes all round: it grows pixel by pixel while most of the next ring differs visibly, so that a line of
    the texture that happens to touch the thing does not count, and no further than half the thing's own radius.
    """
    smooth: Floats = cv2.GaussianBlur(difference, (0, 0), 0.8)
    visible = (smooth > max(_FRINGE_PEAK * float(np.quantile(smooth[mask], 0.75)), _FRINGE_WORST * worst)) & hole
    away = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    fringe = 0
    for step in range(1, int(0.5 * np.sqrt(mask.sum() / np.pi)) + 1):
        ring = (away > step - 1) & (away <= step) & hole
        if not ring.any() or visible[ring].mean() < _FRINGE_ROUND:
            break
        fringe = step
    if fringe < _FRINGE_PX:
        return mask
    solid = _solid(mask | (visible & (away <= fringe)))
    return mask if solid is None else solid


def _rounded(mask: Bools) -> Bools:
    """The matte without the teeth that noise cuts into its edge; thin parts, which would go with them, are kept."""
    smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _TEETH_PX) >= 0.5
    solid = mask.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    thin = mask & ~cv2.dilate(cv2.morphologyEx(solid, cv2.MORPH_OPEN, kernel), kernel).astype(bool)
    return np.asarray(smooth | thin)


def _fits(mask: Bools, hole: Bools) -> float:
    """From 0 to 1: how well the matte sits in its box, as people draw boxes: centred, reaching near its sides, whole.

    The tightness prior of Lempitsky et al. (ICCV 2009), softened: boxes have margins.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    # one thing is one piece: fragments are texture
    fit = float(stats[1:, cv2.CC_STAT_AREA].max()) / float(mask.sum())
    for axis in (0, 1):
        own, box = np.flatnonzero(mask.any(axis=axis)), np.flatnonzero(hole.any(axis=axis))
        side = len(box)
        offset = abs((own[0] + own[-1]) - (box[0] + box[-1])) / side
        extent = (own[-1] - own[0] + 1) / side
        fit *= float(np.exp(-2 * offset**2)) * min(1.0, extent / 0.4)
    return fit


def _grabcut(tones: Floats, hole: Bools, hint: Bools) -> Bools | None:
    """GrabCut (Rother et al. 2004): surely not outside the box, perhaps where ``hint`` says."""
    near, mask = round_the(hole), np.zeros(hole.shape, bool)
    tones, hole, hint = tones[near], hole[near], hint[near]
    if hole.all() or min(hole.shape) < 5:
        return None
    low, high = np.quantile(tones, (0.005, 0.995), axis=(0, 1))
    if float((high - low).max()) < 1e-3:
        return None
    view = np.clip((tones - low) * (255.0 / np.maximum(high - low, 1e-3)), 0, 255).astype(np.uint8)
    view = np.ascontiguousarray(np.repeat(view, 3, axis=2) if view.shape[2] == 1 else view)
    state = np.where(hole, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    state[hint] = cv2.GC_PR_FGD
    # its k-means draws from OpenCV's generator
    cv2.setRNGSeed(7)
    models = np.zeros((2, 1, 65), np.float64)
    cv2.grabCut(view, state, (0, 0, 0, 0), models[0], models[1], 4, cv2.GC_INIT_WITH_MASK)
    mask[near] = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return _solid(mask)


def _two_level(tones: Floats, clean: Floats, hole: Bools) -> Bools | None:
    """Where a picture of two tones shows the other tone than the clean fill does, specks opened away."""
    plain, without = tones.mean(axis=2), clean.mean(axis=2)
    low, high = (float(v) for v in np.quantile(plain, (0.02, 0.98)))
    middle = 0.5 * (low + high)
    if high - low < 1e-3:
        return None
    below, above = plain[plain < middle], plain[plain >= middle]
    if below.size == 0 or above.size == 0 or spread(below) + spread(above) > 0.1 * (high - low):
        return None
    flipped = ((plain > middle) != (without > middle)) & hole
    return _solid(flipped)


def _solid(mask: Bools) -> Bools | None:
    """``mask`` without specks (parts under a tenth of the largest) and without holes; None where nothing is left."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= max(3, 0.1 * areas.max()))
    if kept.size == 0:
        return None
    solid = np.isin(parts, kept).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(solid, contours, -1, 1, cv2.FILLED)
    return solid > 0


def _ellipse(hole: Bools, scale: float = 1.0) -> Bools:
    """The ellipse inscribed in the box, scaled: what is left to say when nothing stands out in it."""
    ys, xs = np.nonzero(hole)
    centre_y, centre_x = (ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2
    half_y, half_x = scale * (np.ptp(ys) + 1) / 2, scale * (np.ptp(xs) + 1) / 2
    grid_y, grid_x = np.indices(hole.shape)
    inner: npt.NDArray[np.bool_] = ((grid_y - centre_y) / half_y) ** 2 + ((grid_x - centre_x) / half_x) ** 2 <= 1
    return inner & hole


def _contrast(difference: Floats, mask: Bools, noise: float) -> float:
    """How well the difference parts inside from outside along the boundary, in deviations of the two sides."""
    kernel = np.ones((5, 5), np.uint8)
    solid = mask.astype(np.uint8)
    inner = mask & ~cv2.erode(solid, kernel).astype(bool)
    outer = cv2.dilate(solid, kernel).astype(bool) & ~mask
    if not inner.any() or not outer.any():
        return 0.0
    deviation = float(np.sqrt(0.5 * (difference[inner].var() + difference[outer].var()))) + noise
    return float(difference[inner].mean() - difference[outer].mean()) / deviation
