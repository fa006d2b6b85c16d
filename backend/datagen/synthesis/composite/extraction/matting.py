"""Matting: segments the concept in a box by several methods, and ranks the resulting mattes (masks) by score.

No method is best for all concepts: GrabCut suits round holes, line segmentation suits faint cracks, and the two-level
method suits circuits. Therefore all methods are run. A score is the contrast along the matte's boundary, changed by its
fit in the box and its agreement with the other mattes. An outline drawn by the annotator is used without matting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Polygon
from datagen.synthesis.composite.extraction.background_inpainting import Clean, Frame, membrane
from datagen.synthesis.composite.extraction.closed_form import closed_form
from datagen.synthesis.composite.extraction.colour_segmentation import concept_probability, hue_difference
from datagen.synthesis.composite.extraction.line_segmentation import hysteresis, line_matte, round_the
from datagen.synthesis.intensity import Bools, Floats, lengths, plain, spread
from datagen.synthesis.masks import rasterize

#: Smallest and largest share of its box that a matte may cover. A smaller matte is a speck; a larger one is the box
#: itself.
MIN_SHARE, MAX_SHARE = 0.04, 0.97
#: Lines are not searched if more than this share of the box differs from the clean fill: a line fills less.
_LINE_FILLS = 0.35
#: Minimum width in pixels of a fringe that counts as part of the concept; a narrower one is the blur of the lens.
_FRINGE_PX = 2
#: Minimum share of a ring round the concept that must differ visibly for the ring to belong to the fringe.
_FRINGE_ROUND = 0.6
#: The fringe ends where the difference falls below this share of its peak, or below this many times the ``worst`` error
#: of the clean fill.
_FRINGE_PEAK, _FRINGE_WORST = 0.1, 0.8
#: A concept is thin if its half width is at most the second value times the radius of a disc of its area. For a thin
#: concept, the fringe ends at the first value's share of the peak: the blur of the lens is as wide as the concept, so
#: only a clear fringe belongs to it.
_FRINGE_PEAK_THIN, _THIN = 0.25, 0.5
#: A pixel whose difference is at least this share of the concept's difference is fully opaque.
_WHOLLY = 0.6
#: A pixel keeps its whole difference if its opacity is at least this; below, the difference is reduced in proportion.
_SAME_WAY = 0.05
#: Width in pixels of a sharp edge, in which pixels may be mixed with the background.
_MIXED_PX = 2
#: Standard deviation, in pixels, of the blur that removes the noise in a matte's edge.
_TEETH_PX = 1.5
#: Boundaries with more contrast than this, in standard deviations, count as equally clear, so that their fit in the box
#: decides.
_CLEAR = 5.0
#: Longest side in pixels of a window that GrabCut segments directly. In a larger window, its models are fitted to the
#: reduced window, and then the whole window is segmented once, because reduction loses thin parts.
_GRABCUT_PX = 110
#: Method of the closed-form matte.
CLOSED_FORM = "closed form"
#: The method of a matte that a segmentation model proposed.
SEGMENTED = "segmentation model"
#: Factors of scores, 1 for the other methods. On a picture of two tones the two-level matte is exact to the pixel, and
#: the others are smoothed. A segmentation model has seen the shapes of many things; its factor was not measured.
_FACTORS = {"two-level": 3.0, SEGMENTED: 2.5}
#: Factor of the closed form's score for a solid concept: this matte ends where the concept's tones end, the others at a
#: threshold.
_WHOLE = 2.0
#: Minimum thickness of a solid concept, and of one that the closed form is tried for: the core of a thinner one does
#: not reach into all its parts.
_SOLID, _NOT_THIN = 0.6, 0.4
#: Probability of the concept's tones above which a part starts, and above which it continues.
_PROBABLY = (0.8, 0.5)
#: A pixel differs completely if its difference is above this share of the 95th percentile in the box.
_LARGEST = 0.8
#: Constant that is added to two factors of a score: the share of differences that the matte explains, and its mean
#: agreement with the other mattes.
_EVIDENCE = 0.2
#: An enclosed hole in a concept stays if it has at least this area, in pixels, and looks like the surroundings. It
#: looks like them where the difference is below this share of the concept's median difference.
_HOLE_PX, _HOLE_DIFFERENCE = 8, 0.45


@dataclass(frozen=True, slots=True, kw_only=True)
class Matte:
    """A mask [h, w] of the concept's pixels in a window.

    ``score`` is the contrast across the boundary, in standard deviations of the two sides, times the factors of
    ``mattes``. ``edge`` is the width in pixels over which the concept's difference from its surroundings falls from 75
    % to 25 %. ``doubt``, from 0 to 1, is how much the other mattes and the differences from the clean fill contradict
    this one.
    """

    method: str
    mask: Bools
    score: float
    edge: float = 0.0
    doubt: float = 0.0


def drawn_matte(outline: Sequence[Polygon], frame: Frame) -> Matte | None:
    """Return the matte of a drawn outline in pixels of the photo; None if it covers no pixel of the window."""
    mask = np.zeros(frame.shape, bool)
    for polygon in outline:
        mask |= rasterize(np.asarray(polygon.points) - (frame.left, frame.top), frame.shape)
    return Matte(method="drawn", mask=mask, score=float("inf")) if mask.any() else None


def mattes(
    tones: Floats, clean: Clean, hole: Bools, others: Bools | None = None, segmented: Bools | None = None
) -> tuple[Matte, ...]:
    """Return the mattes of the concept in ``hole``, best first; at least one.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        clean: the same window without the concept.
        hole: true inside the box, [h, w].
        others: true inside the photo's other boxes, [h, w]; None if there are none.
        segmented: the mask of a segmentation model, [h, w]; None without one.
    """
    others = np.zeros_like(hole) if others is None else others
    outside = ~hole & ~others
    probability = concept_probability(tones, clean.tones, hole, outside)
    colour = None if probability is None else _colour(probability, hole)
    hue = None if colour is None else hue_difference(tones, colour, outside)
    difference = lengths(tones - clean.tones)
    noise, worst = _noise(tones, clean, hole), clean.worst
    if hue is not None and hue.difference[colour].mean() / hue.noise > difference[colour].mean() / noise:
        # the hue alone distinguishes a concept of clear hue from stones and shadows; the clean fill is not needed
        difference, noise, worst = hue.difference, hue.noise, hue.worst
    box = _Box(
        hole=hole,
        difference=difference,
        smooth=cv2.GaussianBlur(difference, (0, 0), 0.8),
        change=tones - clean.tones,
        noise=noise,
        worst=worst,
        probability=probability,
        foreign=_foreign(probability, hole, others),
    )
    residual = _residual(difference, noise, worst, hole)
    hint = _ellipse(hole, 0.75) if residual is None else residual
    # a line fills little of its box: if much differs, lines are not searched
    filled = residual is not None and residual.sum() > _LINE_FILLS * hole.sum()
    masks = {
        "line": None if filled else line_matte(tones, clean.tones, hole),
        "residual": residual,
        "grabcut": _grabcut(tones, hole, hint),
        "colour": colour,
        "grabcut on colour": None if colour is None else _grabcut(tones, hole, colour),
        "grabcut on residual": _grabcut(np.dstack([plain(tones), difference, difference]), hole, hint),
        "two-level": _two_level(tones, clean.tones, hole),
        "template difference": _template_difference(tones, clean, hole) if clean.method == "template" else None,
        SEGMENTED: _inside(segmented, hole),
    }
    finished = [matte for name, mask in masks.items() if (matte := _finished(name, mask, box)) is not None]
    if not finished:
        return (Matte(method="box", mask=_ellipse(hole), score=0.0, doubt=1.0),)
    ranked = _rated(finished, box)
    best = ranked[0]
    thickness = _thickness(best.mask)
    if best.method == "two-level" or thickness < _NOT_THIN:
        return ranked
    matte = _finished(CLOSED_FORM, closed_form(tones, hole, best.mask), box)
    if matte is None:
        return ranked
    return _rated([*finished, replace(matte, score=matte.score * (_WHOLE if thickness >= _SOLID else 1.0))], box)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Box:
    """The measurements in a box's window [h, w] before its mattes are rated."""

    #: true inside the box
    hole: Bools
    #: the concept's difference from its surroundings, and the same without pixel noise
    difference: Floats
    smooth: Floats
    #: the tones minus the clean tones, [h, w, c]
    change: Floats
    #: level of the difference's noise, and the largest error of the clean fill
    noise: float
    worst: float
    #: probability of the concept's tones; None if the tones do not distinguish it
    probability: Floats | None
    #: true for pixels of another box's concept
    foreign: Bools


def _finished(name: str, raw: Bools | None, box: _Box) -> Matte | None:
    """Return a method's matte, cleaned and scored; None if it is empty, a speck, or the whole box."""
    if raw is None or not raw.any():
        return None
    surroundings = box.smooth < _HOLE_DIFFERENCE * float(np.median(box.smooth[raw]))
    if box.probability is not None:
        surroundings |= box.probability < 0.5
    mask = raw if name == "two-level" else _solid(raw & ~box.foreign, surroundings)
    if mask is None:
        return None
    grown = mask if name == "two-level" else _grown(mask, box.difference, box.worst, box.hole)
    if name not in ("line", "two-level"):  # these have no noisy edges, and they have thin parts
        rounded = _solid(_rounded(grown), surroundings)
        grown = grown if rounded is None else rounded
    if not MIN_SHARE <= grown.sum() / box.hole.sum() <= MAX_SHARE:
        return None
    # the contrast is measured without the fringe: a softer edge has less contrast at its end
    clear = min(_contrast(box.difference, mask, box.noise), _CLEAR)
    return Matte(
        method=name,
        mask=grown,
        score=clear * _fits(mask, box.hole) * _FACTORS.get(name, 1.0),
        edge=_edge_width(_same_way(box.change, mask), mask, box.hole),
    )


def _rated(unrated: Sequence[Matte], box: _Box) -> tuple[Matte, ...]:
    """Return the mattes of a box, best first, with score and doubt by the differences and by the other mattes."""
    explained = [_explained(box.smooth, matte.mask, box.hole) for matte in unrated]
    agreements = [
        [_iou(matte.mask, other.mask) for other in unrated if other is not matte] or [share]
        for matte, share in zip(unrated, explained, strict=True)
    ]
    rated = [
        replace(
            matte,
            score=matte.score * (_EVIDENCE + share) * (_EVIDENCE + float(np.mean(agreement))),
            doubt=1 - (share if matte.method == "two-level" else 0.5 * (share + float(np.mean(agreement)))),
        )
        for matte, share, agreement in zip(unrated, explained, agreements, strict=True)
    ]
    return tuple(sorted(rated, key=lambda matte: (-matte.score, matte.method)))


def _inside(mask: Bools | None, hole: Bools) -> Bools | None:
    """Return the part of a mask in the box; None if there is no mask, or none of it lies in the box."""
    return mask & hole if mask is not None and (mask & hole).any() else None


def agreed(candidates: Sequence[tuple[Matte, ...]], holes: Sequence[Bools]) -> list[tuple[Matte, ...]]:
    """Return the mattes of several boxes of one label, ranked again by their agreement.

    Annotators draw boxes round the same concept consistently. A matte therefore loses score if the share of its box
    that it fills is far from the label's median share.

    Args:
        candidates: the mattes of each box, best first.
        holes: true inside each box, [h, w].
    """
    best = [ranked[0] for ranked in candidates]
    shares = [m.mask.sum() / h.sum() for m, h in zip(best, holes, strict=True) if m.method not in ("box", "drawn")]
    if len(shares) < 3:
        return list(candidates)
    typical = float(np.median(shares))

    def score(matte: Matte, hole: Bools) -> float:
        off = float(np.log(max(matte.mask.sum() / hole.sum(), 1e-3) / typical))
        return matte.score * float(np.exp(-0.5 * (off / 0.7) ** 2))

    return [
        tuple(sorted(ranked, key=lambda m, h=hole: (-score(m, h), m.method)))  # type: ignore[misc]
        for ranked, hole in zip(candidates, holes, strict=True)
    ]


def to_the_box(ranked: Sequence[Matte], hole: Bools) -> tuple[Matte, ...]:
    """Return the mattes of a concept with soft edges, with a first one added that extends to the box.

    The pixels do not show where such a concept ends, so the annotator's box defines it.
    """
    best = ranked[0]
    reaching = Matte(
        method=f"{best.method} to the box", mask=best.mask | _ellipse(hole), score=best.score, edge=best.edge
    )
    return (reaching, *ranked)


def roundness(mask: Bools) -> float:
    """Return the IoU of the mask and the ellipse with the same moments: 1 for an ellipse, less for other shapes."""
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    covariance = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / area
    grid_y, grid_x = np.indices(mask.shape)
    offsets = np.stack([grid_x - moments["m10"] / area, grid_y - moments["m01"] / area], axis=-1)
    # a uniform ellipse has a quarter of its squared half axes as variances
    ellipse = (offsets @ np.linalg.inv(covariance + 0.1 * np.eye(2)) * offsets).sum(axis=-1) <= 4
    return _iou(mask, ellipse)


def unmixed(tones: Floats, clean: Floats, mask: Bools, measured: Bools, *, soft: bool) -> tuple[Floats, Floats]:
    """Return the concept's opacity, [h, w] in 0..1, and the clean window with only the concept added, [h, w, c].

    At an edge, the lens mixes the concept with its background. The tones of fully opaque pixels are extrapolated to the
    mixed pixels. The opacity of a mixed pixel is its position between the clean tones and these (the compositing
    equation with a known background, Smith and Blinn 1996). A difference in the opposite direction, such as a halo or
    an error of the clean fill, is not part of the concept.

    Args:
        tones: the window as photographed, [h, w, c].
        clean: the same window without the concept.
        mask: the pixels labelled as the concept, [h, w].
        measured: the segmented pixels of the mask, [h, w].
        soft: whether the concept's edges are soft. If so, only its core is fully opaque; else the mask without its rim
            is.
    """
    difference = tones - clean
    distance: Floats = cv2.GaussianBlur(lengths(difference), (0, 0), 1.0 if soft else 0.6)
    if soft:
        opaque = measured & (distance >= _WHOLLY * float(np.quantile(distance[mask], 0.9)))
    else:
        side = 4 * _MIXED_PX + 1  # the mixed pixels, and the same number beyond them
        near = cv2.dilate(np.where(mask, distance, 0), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        opaque = mask & ((depth > _MIXED_PX) | (distance >= _WHOLLY * near))
    if not opaque.any():
        return np.ones(mask.shape, np.float32), tones
    full_difference = membrane(tones, opaque) - clean
    share = (difference * full_difference).sum(axis=2) / np.maximum(np.square(full_difference).sum(axis=2), 1.0)
    kept = np.where(opaque, 1, np.clip(cv2.GaussianBlur(share, (0, 0), 1.0) / _SAME_WAY, 0, 1))
    opacity = np.where(opaque, 1, np.clip(share, 0, 1))
    return opacity.astype(np.float32), np.asarray(clean + kept[:, :, None] * difference, np.float32)


def _same_way(difference: Floats, mask: Bools) -> Floats:
    """Return the component of each difference in the concept's mean direction, [h, w], in tones.

    ``difference`` is [h, w, c]. The component of an opposite difference, such as that of a halo, is 0.
    """
    direction = difference[mask].mean(axis=0)
    length = max(float(np.linalg.norm(direction)), 1e-6)
    return np.asarray(np.maximum(difference @ (direction / length), 0))


def _edge_width(difference: Floats, mask: Bools, hole: Bools) -> float:
    """Return the width of the concept's edge in pixels.

    It is the distance between the outermost rings at which the mean of ``difference`` [h, w] reaches 75 % and 25 % of
    the concept's.
    """
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
    """Return the noise of a difference in tones: the larger of the fill's error and half the texture round the box."""
    texture = lengths(tones - cv2.blur(tones, (5, 5)).reshape(tones.shape))
    rough = float(np.median(texture[~hole])) if (~hole).any() else 0.0
    return max(clean.error, 0.5 * rough, 1.0)


def _residual(difference: Floats, noise: float, worst: float, hole: Bools) -> Bools | None:
    """Return which pixels differ from the clean fill, [h, w], by hysteresis; None if the peak is not above the noise.

    A part contains a pixel with half the peak. It continues down to 0.3 of the peak, or to the fill's ``worst`` error
    if that is larger.
    """
    smooth: Floats = cv2.GaussianBlur(difference, (0, 0), 0.8)
    peak = float(np.quantile(smooth[hole], 0.95))
    if peak < 2 * noise:
        return None
    high, low = max(0.5 * peak, 2 * noise), max(0.3 * peak, 1.5 * noise, worst)
    weak = (smooth > low) & hole
    return _without_specks(hysteresis(weak, (smooth > high) & hole))


def _colour(probability: Floats, hole: Bools) -> Bools | None:
    """Return the pixels that probably have the concept's tones, [h, w], by hysteresis; None if there are none."""
    strong, weak = (probability > share for share in _PROBABLY)
    return _without_specks(hysteresis(weak & hole, strong & hole))


def _foreign(probability: Floats | None, hole: Bools, others: Bools) -> Bools:
    """Return which pixels in the overlap of two boxes belong to the concept of the other box, [h, w].

    A connected part with the concept's tones belongs to the other box if less than half of it lies in this box.
    """
    if probability is None or not (hole & others).any():
        return np.zeros_like(hole)
    own = cv2.connectedComponents(((probability > _PROBABLY[1]) & (hole | others)).astype(np.uint8))[1]
    counts = np.bincount(own.ravel())
    inside = np.bincount(own[hole], minlength=len(counts))
    foreign = inside < 0.5 * counts
    foreign[0] = False
    return np.asarray(foreign[own] & others)


def _template_difference(tones: Floats, clean: Clean, hole: Bools) -> Bools | None:
    """Return which pixels differ, even faintly, from a clean photo of the same part, [h, w]; None if none does.

    The difference of a pixel is its distance from the range of the neighbouring clean tones. An edge that is misaligned
    by a pixel therefore does not count.
    """
    kernel = np.ones((3, 3), np.uint8)
    low, high = (f(clean.tones, kernel).reshape(clean.tones.shape) for f in (cv2.erode, cv2.dilate))
    beyond = np.maximum(np.maximum(tones - high, low - tones), 0)
    difference: Floats = cv2.GaussianBlur(lengths(beyond), (0, 0), 0.8)
    outside = difference[~hole]
    least = max(float(np.quantile(outside, 0.99)) if outside.size else 0.0, 2.0)
    peak = float(np.quantile(difference[hole], 0.95))
    if peak < 2 * least:
        return None
    strong = (difference > max(0.4 * peak, 2 * least)) & hole
    kept = hysteresis((difference > max(0.15 * peak, least)) & hole, strong)
    # restore the rim pixels that the tolerance removed if they differ clearly
    clear = lengths(tones - clean.tones) > max(0.5 * peak, least)
    return _without_specks(kept | (cv2.dilate(kept.astype(np.uint8), kernel).astype(bool) & clear & hole))


def _grown(mask: Bools, difference: Floats, worst: float, hole: Bools) -> Bools:
    """Return the matte extended over its soft edge, until the concept cannot be distinguished from its surroundings.

    The matte grows by rings of one pixel while most of the next ring differs visibly. A line of the texture that
    touches the concept therefore does not count. The matte grows by at most half the radius of a disc of its area.
    """
    smooth: Floats = cv2.GaussianBlur(difference, (0, 0), 0.8)
    radius = float(np.sqrt(mask.sum() / np.pi))
    peak = _FRINGE_PEAK if _thickness(mask) > _THIN else _FRINGE_PEAK_THIN
    visible = (smooth > max(peak * float(np.quantile(smooth[mask], 0.75)), _FRINGE_WORST * worst)) & hole
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    fringe = 0
    for step in range(1, int(0.5 * radius) + 1):
        ring = (distance > step - 1) & (distance <= step) & hole
        if not ring.any() or visible[ring].mean() < _FRINGE_ROUND:
            break
        fringe = step
    if fringe < _FRINGE_PX:
        return mask
    return mask | (visible & (distance <= fringe))


def _thickness(mask: Bools) -> float:
    """Return the mask's largest half width as a share of the radius of a disc of its area: 1 for a disc."""
    half_width = float(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5).max())
    return half_width / float(np.sqrt(mask.sum() / np.pi))


def _rounded(mask: Bools) -> Bools:
    """Return the matte with a smoothed edge. Thin parts, which smoothing would remove, are kept."""
    smooth = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _TEETH_PX) >= 0.5
    solid = mask.astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    thin = mask & ~cv2.dilate(cv2.morphologyEx(solid, cv2.MORPH_OPEN, kernel), kernel).astype(bool)
    return np.asarray(smooth | thin)


def _fits(mask: Bools, hole: Bools) -> float:
    """Return from 0 to 1 how well the matte fits its box: it should be central, reach near the sides and be connected.

    This is the tightness prior of Lempitsky et al. (ICCV 2009), relaxed because boxes have margins.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    # a concept is one connected part; fragments are texture
    fit = float(stats[1:, cv2.CC_STAT_AREA].max()) / float(mask.sum())
    for axis in (0, 1):
        own, box = np.flatnonzero(mask.any(axis=axis)), np.flatnonzero(hole.any(axis=axis))
        side = len(box)
        offset = abs((own[0] + own[-1]) - (box[0] + box[-1])) / side
        extent = (own[-1] - own[0] + 1) / side
        fit *= float(np.exp(-2 * offset**2)) * min(1.0, extent / 0.4)
    return fit


def _grabcut(tones: Floats, hole: Bools, hint: Bools) -> Bools | None:
    """Return the matte of GrabCut (Rother et al. 2004), [h, w]; None if it finds nothing.

    Pixels outside the box are certain background; those of ``hint`` are probable concept.
    """
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
    # its k-means uses OpenCV's random generator
    cv2.setRNGSeed(7)
    models = np.zeros((2, 1, 65), np.float64)
    shrink = min(1.0, _GRABCUT_PX / max(state.shape))
    if shrink < 1:
        size = (max(5, round(state.shape[1] * shrink)), max(5, round(state.shape[0] * shrink)))
        small = np.asarray(cv2.resize(view, size, interpolation=cv2.INTER_AREA), np.uint8)
        small_state = np.asarray(cv2.resize(state, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        cv2.grabCut(small, small_state, (0, 0, 0, 0), models[0], models[1], 3, cv2.GC_INIT_WITH_MASK)
        size = (state.shape[1], state.shape[0])
        # GC_FGD is 1 and GC_PR_FGD is 3, the background's states are even
        foreground = (
            np.asarray(cv2.resize(small_state, size, interpolation=cv2.INTER_NEAREST), np.uint8) % 2 == cv2.GC_FGD
        )
        state = np.where(hole, np.where(foreground, cv2.GC_PR_FGD, cv2.GC_PR_BGD), cv2.GC_BGD).astype(np.uint8)
        cv2.grabCut(view, state, (0, 0, 0, 0), models[0], models[1], 1, cv2.GC_EVAL)
    else:
        cv2.grabCut(view, state, (0, 0, 0, 0), models[0], models[1], 4, cv2.GC_INIT_WITH_MASK)
    mask[near] = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return _without_specks(mask)


def _two_level(tones: Floats, clean: Floats, hole: Bools) -> Bools | None:
    """Return where the tone of a two-level picture differs from that of the clean fill, [h, w], without specks.

    Return None if the picture does not have two levels, or nothing differs.
    """
    shown, without = plain(tones), plain(clean)
    low, high = (float(v) for v in np.quantile(shown, (0.02, 0.98)))
    middle = 0.5 * (low + high)
    if high - low < 1e-3:
        return None
    below, above = shown[shown < middle], shown[shown >= middle]
    if below.size == 0 or above.size == 0 or spread(below) + spread(above) > 0.1 * (high - low):
        return None
    flipped = ((shown > middle) != (without > middle)) & hole
    return _solid(flipped, np.zeros_like(hole))


def _without_specks(mask: Bools) -> Bools | None:
    """Return the mask without parts smaller than a tenth of the largest part; None if nothing is left."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.concatenate([[False], areas >= max(3, 0.1 * areas.max())])
    return np.asarray(kept[parts]) if kept.any() else None


def _solid(mask: Bools, surroundings: Bools) -> Bools | None:
    """Return the mask without specks, and with its holes filled unless they look like the surroundings.

    Return None if nothing is left.

    Args:
        mask: the pixels of the concept, [h, w].
        surroundings: true where a pixel looks like the surroundings, [h, w].
    """
    solid = _without_specks(mask)
    if solid is None:
        return None
    count, parts, stats, _ = cv2.connectedComponentsWithStats((~solid).astype(np.uint8), connectivity=4)
    counts = np.bincount(parts[surroundings], minlength=count)
    rows, columns = mask.shape
    for part in range(1, count):
        left, top, width, height, area = (int(v) for v in stats[part])
        enclosed = left > 0 and top > 0 and left + width < columns and top + height < rows
        if enclosed and not (area >= _HOLE_PX and counts[part] > 0.5 * area):
            solid[parts == part] = True
    return solid


def _ellipse(hole: Bools, scale: float = 1.0) -> Bools:
    """Return the ellipse inscribed in the box, [h, w], with its axes multiplied by ``scale``.

    It is the mask of a concept that does not differ from its surroundings.
    """
    ys, xs = np.nonzero(hole)
    centre_y, centre_x = (ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2
    half_y, half_x = scale * (np.ptp(ys) + 1) / 2, scale * (np.ptp(xs) + 1) / 2
    grid_y, grid_x = np.indices(hole.shape)
    inner: npt.NDArray[np.bool_] = ((grid_y - centre_y) / half_y) ** 2 + ((grid_x - centre_x) / half_x) ** 2 <= 1
    return inner & hole


def _explained(difference: Floats, mask: Bools, hole: Bools) -> float:
    """Return how well the matte explains the differences from the clean fill in the box, from 0 to 1.

    This is the IoU of the matte with the differences. Each difference counts as a share of the largest ones, at most 1.
    """
    top = max(_LARGEST * float(np.quantile(difference[hole], 0.95)), 1e-6)
    shares = np.where(hole, np.minimum(difference / top, 1), 0)
    return float(np.minimum(shares, mask).sum() / np.maximum(shares, mask).sum())


def _iou(mask: Bools, other: Bools) -> float:
    """Return the intersection over union of two masks, at least one of which has a pixel."""
    return float((mask & other).sum() / (mask | other).sum())


def _contrast(difference: Floats, mask: Bools, noise: float) -> float:
    """Return the mean step of the difference across the boundary, in units of its scatter.

    The scatter is the standard deviation of the two sides plus ``noise``.
    """
    kernel = np.ones((5, 5), np.uint8)
    solid = mask.astype(np.uint8)
    inner = mask & ~cv2.erode(solid, kernel).astype(bool)
    outer = cv2.dilate(solid, kernel).astype(bool) & ~mask
    if not inner.any() or not outer.any():
        return 0.0
    deviation = float(np.sqrt(0.5 * (difference[inner].var() + difference[outer].var()))) + noise
    return float(difference[inner].mean() - difference[outer].mean()) / deviation
