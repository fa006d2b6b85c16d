"""Shapes that were not photographed: variants of a label's exemplars, used as often as held-out evidence supports.

There are three kinds. *bent* displaces the pixels of an exemplar smoothly (elastic deformation, Simard et al., ICDAR
2003). *between* gives an exemplar a shape between its own and that of another exemplar of the label. The radius of its
outline in every direction is drawn between the two radii, and its pixels are moved accordingly. *part* is what is left
of a branching exemplar that is cut at a junction (``parts``).

Each exemplar is left out once. The energy score (Gneiting and Raftery 2007) compares its shape with those of the other
exemplars and of their variants. A lower score means a better prediction of the shape. Variants are used only if they
improve the mean score by more than the standard error of the improvement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.appearance.parts import parts
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.intensity import Bools, Floats

#: Kinds of shapes, as named in traces and parameters.
AS_PHOTOGRAPHED, BENT, BETWEEN, PART = "as photographed", "bent", "between", "part"
#: The kinds of shapes that were not photographed.
NOT_PHOTOGRAPHED = (BENT, BETWEEN, PART)
#: Number of variants of each exemplar and kind.
_VARIANTS = 4
#: Possible shares of the samples that get one kind of variant; ``_choose_shares`` chooses a share for each kind.
_SHARES = (0.0, 0.2, 0.4, 0.6)
#: Largest total share of all kinds, so that photographed shapes remain frequent.
_LARGEST_SHARE = 0.6
#: Minimum number of exemplars for a comparison of left-out shapes.
_MIN_EXEMPLARS = 4
#: A label branches if at least this share of its exemplars does. Ragged mattes of other labels have parts by chance.
_BRANCHING = 0.5
#: Correlation length and size of a bend's displacements, as shares of the square root of the mask's area.
_BEND_SCALE, _BEND_SIZE = 0.5, 0.07
#: Distances from the mask, as shares of the square root of its area. Nearer than the first, pixels move by the whole
#: displacement. Farther than the second, they do not move.
_MOVED_WHOLLY, _UNMOVED = 0.3, 0.7
#: Number of directions in which the radius of an outline is measured.
_DIRECTIONS = 48
#: On rays from a mask's centre to its outermost pixels, at least this share must lie in the mask. Otherwise the outline
#: has more than one radius in some direction.
_STAR_SHAPED = 0.93
#: Side of a shape in the form in which shapes are compared, its root mean square radius, and the standard deviation of
#: its smoothing, all in pixels.
_DESCRIBED_PX, _DESCRIBED_RADIUS, _DESCRIBED_BLUR = 32, 7.0, 1.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """An exemplar in another shape: ``mask`` [h, w] in the exemplar's window.

    ``moved`` are the positions x and y [h, w] in the window from which its pixels are taken, or None if they stay.
    ``other`` is the key of the exemplar whose shape the variant approaches, or None.
    """

    exemplar: Exemplar
    mask: Bools
    moved: tuple[Floats, Floats] | None = None
    other: str | None = None

    def cut_out(self, *, crisp: bool) -> Exemplar:
        """Return the exemplar in this shape; if ``crisp``, its pixels are not mixed."""
        if self.moved is None:
            return replace(self.exemplar, mask=self.mask)
        way = cv2.INTER_NEAREST if crisp else cv2.INTER_LINEAR
        patch, clean, thing, opacity, mask = (
            _remapped(layer, *self.moved, way)
            for layer in (
                self.exemplar.patch,
                self.exemplar.clean,
                self.exemplar.thing,
                self.exemplar.opacity,
                self.exemplar.mask.astype(np.float32),
            )
        )
        return replace(self.exemplar, patch=patch, clean=clean, thing=thing, opacity=opacity, mask=mask >= 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeModel:
    """The variants of one label's exemplars, and the shares of the samples that get them.

    ``variants`` maps an exemplar's key and a kind to the variants. ``shares`` maps a kind to its share of the samples.
    ``scores`` are the mean energy scores of left-out shapes, first without variants, then with them. Both are NaN if
    there are too few exemplars.
    """

    variants: Mapping[str, Mapping[str, tuple[Variant, ...]]]
    shares: Mapping[str, float]
    scores: tuple[float, float]


def learn_shapes(exemplars: Sequence[Exemplar]) -> ShapeModel:
    """Make the variants of one label's exemplars, and choose the share of each kind."""
    exemplars = list({exemplar.key: exemplar for exemplar in exemplars}.values())  # a photo can be given twice
    none = ShapeModel(variants={}, shares={}, scores=(float("nan"), float("nan")))
    if len(exemplars) < _MIN_EXEMPLARS:
        return none
    radii = {exemplar.key: _radii(exemplar.mask) for exemplar in exemplars}
    of_parts = {exemplar.key: _parts(exemplar) for exemplar in exemplars}
    if sum(map(bool, of_parts.values())) < _BRANCHING * len(exemplars):
        of_parts = {key: [] for key in of_parts}
    all_variants = {
        exemplar.key: {BENT: _bent(exemplar), BETWEEN: _between(exemplar, radii), PART: of_parts[exemplar.key]}
        for exemplar in exemplars
    }
    shares, scores = _choose_shares(exemplars, all_variants)
    variants = {
        key: {kind: tuple(of_kind) for kind, of_kind in kinds.items() if shares[kind] and of_kind}
        for key, kinds in all_variants.items()
    }
    return ShapeModel(variants=variants if any(shares.values()) else {}, shares=shares, scores=scores)


def _bent(exemplar: Exemplar) -> list[Variant]:
    chance = np.random.default_rng(_number(exemplar))
    size = float(np.sqrt(exemplar.mask.sum()))
    height, width = exemplar.mask.shape
    rows, columns = np.indices(exemplar.mask.shape, np.float32)
    moved_share = _moved_share(exemplar.mask)
    variants: list[Variant] = []
    for _ in range(_VARIANTS):
        shifts = []
        for _ in range(2):
            # random numbers on a coarse grid, interpolated, are as smooth as blurred noise and take less time
            step = max(2 * _BEND_SCALE * size, 2.0)
            grid = chance.normal(size=(int(height / step) + 3, int(width / step) + 3)).astype(np.float32)
            smooth = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
            inside = smooth[exemplar.mask]
            # a bend changes the shape, and neither the place nor more than a known extent
            shifts.append((smooth - inside.mean()) * (_BEND_SIZE * size / max(float(inside.std()), 1e-6)))
        variant = _deformed(exemplar, moved_share, columns + shifts[0], rows + shifts[1], None)
        if variant is not None:
            variants.append(variant)
    return variants


def _between(exemplar: Exemplar, radii: Mapping[str, Floats | None]) -> list[Variant]:
    """Return an exemplar's variants towards others; ``radii`` are those of all exemplars of the label, by key."""
    own = radii[exemplar.key]
    if own is None:
        return []
    chance = np.random.default_rng(_number(exemplar) + 1)
    ys, xs = np.nonzero(exemplar.mask)
    rows, columns = np.indices(exemplar.mask.shape, np.float32)
    rows, columns = rows - np.float32(ys.mean()), columns - np.float32(xs.mean())
    radius, moved_share = np.hypot(rows, columns), _moved_share(exemplar.mask)
    at = (np.arctan2(rows, columns) / (2 * np.pi) * _DIRECTIONS) % _DIRECTIONS
    variants: list[Variant] = []
    others = [key for key in radii if key != exemplar.key]
    for other in [others[n] for n in chance.permutation(len(others))]:
        share, its = chance.uniform(0.3, 0.8), radii[other]
        if its is None:
            continue
        its = _turned_towards(own, its * (np.sqrt(np.mean(own**2)) / np.sqrt(np.mean(its**2))))
        factor = own / ((1 - share) * own + share * its)
        scale = np.interp(at, np.arange(_DIRECTIONS + 1), np.append(factor, factor[0])).astype(np.float32)
        x, y = columns * scale + np.float32(xs.mean()), rows * scale + np.float32(ys.mean())
        x, y = np.where(radius > 0, x, xs.mean()), np.where(radius > 0, y, ys.mean())
        variant = _deformed(exemplar, moved_share, x, y, other)
        if variant is not None:
            variants.append(variant)
        if len(variants) == _VARIANTS:
            break
    return variants


def _parts(exemplar: Exemplar) -> list[Variant]:
    """Return variants that are parts of an exemplar; none if it does not branch."""
    masks = parts(exemplar.mask)
    order = np.random.default_rng(_number(exemplar) + 2).permutation(len(masks))[:_VARIANTS]
    return [Variant(exemplar=exemplar, mask=masks[n]) for n in order]


def _moved_share(mask: Bools) -> Floats:
    """Return the share of its displacement by which each pixel moves, [h, w]: 1 near the mask, 0 far from it."""
    off = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5) / np.float32(np.sqrt(mask.sum()))
    return np.asarray(np.clip((_UNMOVED - off) / np.float32(_UNMOVED - _MOVED_WHOLLY), 0, 1))


def _deformed(exemplar: Exemplar, moved_share: Floats, x: Floats, y: Floats, other: str | None) -> Variant | None:
    """Return the variant that takes each pixel from (x, y), as far as its ``moved_share`` says.

    Return None if the deformed mask is empty or reaches the window's rim.
    """
    rows, columns = np.indices(exemplar.mask.shape, np.float32)
    x = (columns + moved_share * (x - columns)).astype(np.float32)
    y = (rows + moved_share * (y - rows)).astype(np.float32)
    mask = _remapped(exemplar.mask.astype(np.float32), x, y, cv2.INTER_LINEAR) >= 0.5
    inner = mask[1:-1, 1:-1]
    if not mask.any() or np.count_nonzero(inner) != np.count_nonzero(mask):
        return None
    return Variant(exemplar=exemplar, mask=mask, moved=(x, y), other=other)


def _remapped(layer: Floats, x: Floats, y: Floats, way: int) -> Floats:
    moved = cv2.remap(layer, x, y, way, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved.reshape(layer.shape), np.float32)


def _number(exemplar: Exemplar) -> int:
    """Return a random seed that depends on the exemplar alone."""
    digest, _, region = exemplar.key.rpartition(":")
    return int.from_bytes(digest.encode()[:12], "big") % 2**31 + int(region)


def _radii(mask: Bools) -> Floats | None:
    """Return the radii [_DIRECTIONS] of a mask's outline, in pixels from its centre.

    Return None if the outline has more than one radius in some direction, or the mask has fewer than 12 pixels.
    """
    ys, xs = np.nonzero(mask)
    if len(ys) < 12:
        return None
    centre = np.array([ys.mean(), xs.mean()])
    reach = np.arange(0, mask.shape[0] + mask.shape[1], 0.5)
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    rows = np.rint(centre[0] + np.outer(np.sin(angles), reach)).astype(int)
    columns = np.rint(centre[1] + np.outer(np.cos(angles), reach)).astype(int)
    within = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
    hit = np.zeros(rows.shape, bool)
    hit[within] = mask[rows[within], columns[within]]
    last = np.where(hit.any(axis=1), hit.shape[1] - 1 - hit[:, ::-1].argmax(axis=1), 0)
    solid = hit.sum() / max(int((last + 1).sum()), 1)
    if solid < _STAR_SHAPED or not hit[:, 0].all():
        return None
    return np.asarray(np.maximum(reach[last], 0.5) + 0.25, np.float32)


def _turned_towards(own: Floats, other: Floats) -> Floats:
    """Return the radii ``other``, rotated and possibly mirrored so that they are most like the radii ``own``."""
    turns = np.arange(_DIRECTIONS)[None, :] - np.arange(_DIRECTIONS)[:, None]
    ways = np.concatenate([other[turns], other[::-1][turns]])
    return np.asarray(ways[np.argmin(np.square(np.log(ways / own)).sum(axis=1))], np.float32)


def _choose_shares(
    exemplars: Sequence[Exemplar], variants: Mapping[str, Mapping[str, Sequence[Variant]]]
) -> tuple[dict[str, float], tuple[float, float]]:
    """Return the share of each kind, and two mean energy scores: without variants and with the chosen shares."""
    keys = [exemplar.key for exemplar in exemplars]
    masks = [exemplar.mask for exemplar in exemplars]
    #: for each shape: its kind ("" if photographed), and the keys of the exemplars that it must not predict
    kinds, sources = [""] * len(keys), [{key} for key in keys]
    for key in keys:
        for kind, of_kind in variants[key].items():
            for variant in of_kind:
                masks.append(variant.mask)
                kinds.append(kind)
                sources.append({key} if variant.other is None else {key, variant.other})
    distances = _distances([_described(mask) for mask in masks])
    allowed = np.array([[key not in source for source in sources] for key in keys])
    of_kinds = {kind: np.array([variant_kind == kind for variant_kind in kinds]) for kind in ("", *NOT_PHOTOGRAPHED)}
    options = [
        dict(zip(NOT_PHOTOGRAPHED, shares, strict=True))
        for shares in product(_SHARES, repeat=len(NOT_PHOTOGRAPHED))
        if sum(shares) <= _LARGEST_SHARE
        and all(of_kinds[kind].any() or not share for kind, share in zip(NOT_PHOTOGRAPHED, shares, strict=True))
    ]
    scores = np.array([_scores(allowed, of_kinds, distances, shares) for shares in options])
    plain = scores[0]
    best = int(np.argmin(scores.mean(axis=1)))
    gain = plain - scores[best]
    if best and gain.mean() <= gain.std(ddof=1) / np.sqrt(len(gain)):
        best = 0
    return options[best], (float(plain.mean()), float(scores[best].mean()))


def _scores(
    allowed: Bools,
    of_kinds: Mapping[str, Bools],
    distances: npt.NDArray[np.float64],
    shares: Mapping[str, float],
) -> list[float]:
    """Return for each exemplar the energy score of its shape, predicted without this exemplar.

    Args:
        allowed: which shapes may predict an exemplar, [exemplars, shapes]; the exemplars are the first shapes.
        of_kinds: which shapes are of a kind, [shapes]; those of the kind "" were photographed.
        distances: the distances between shapes.
        shares: the share of each kind.
    """
    scores = []
    for number, usable in enumerate(allowed):
        weights = np.zeros(len(usable))
        rest = 1.0
        for kind, share in shares.items():
            of_kind = usable & of_kinds[kind]
            if share and of_kind.any():
                weights[of_kind] = share / of_kind.sum()
                rest -= share
        photographed = usable & of_kinds[""]
        weights[photographed] = rest / photographed.sum()
        scores.append(float(weights @ distances[number] - 0.5 * weights @ distances @ weights))
    return scores


def _described(mask: Bools) -> Floats:
    """Return the mask in the form in which shapes are compared: [_DESCRIBED_PX, _DESCRIBED_PX], smoothed.

    Position, size and the direction of the longer axis are normalized.
    """
    ys, xs = np.nonzero(mask)
    points = np.stack([xs - xs.mean(), ys - ys.mean()])
    radius = max(float(np.sqrt(np.square(points).sum(axis=0).mean())), 0.3)
    axis = np.linalg.eigh(points @ points.T + 1e-6 * np.eye(2)).eigenvectors[:, 1]
    scale = _DESCRIBED_RADIUS / radius
    linear = scale * np.array([[axis[0], axis[1]], [-axis[1], axis[0]]])
    shift = _DESCRIBED_PX / 2 - 0.5 - linear @ (xs.mean(), ys.mean())
    matrix = np.hstack([linear, shift[:, None]])
    size = (_DESCRIBED_PX, _DESCRIBED_PX)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(
        cv2.GaussianBlur(cv2.warpAffine(mask.astype(np.float32), matrix, size, flags=flags), (0, 0), _DESCRIBED_BLUR)
    )


def _distances(described: Sequence[Floats]) -> npt.NDArray[np.float64]:
    """Return the distances [n, n] between shapes, each the smallest over the four reflections of one of the two."""
    flat = np.stack([shape.ravel() for shape in described]).astype(np.float64)
    squares = np.square(flat).sum(axis=1)
    nearest = np.full((len(flat), len(flat)), np.inf)
    for way in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        turned = np.stack([shape[:: way[0], :: way[1]].ravel() for shape in described]).astype(np.float64)
        nearest = np.minimum(nearest, squares[:, None] + squares[None, :] - 2 * flat @ turned.T)
    return np.asarray(np.sqrt(np.maximum(nearest, 0)))
