"""Parts of branching masks, such as roots, cracks and plants: what is left when they are cut at a junction.

The skeleton of a branching mask has junctions, from which at least three arms leave. A cut between an arm and its
junction gives two parts: the arm with all that hangs on it, and the rest. The arm narrows to a point towards the cut,
as arms do at their ends."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.intensity import Bools, Floats

#: Maximum thickness of a branching mask: its largest half width as a share of the radius of a disc of its area.
_THIN = 0.5
#: An arm is longer than this many times the half width at its junction; a shorter one is a bump of the outline.
_ARM = 2.0
#: Smallest and largest share of the mask's pixels that a part has.
_SHARES = (0.25, 0.9)
#: Length over which an arm narrows towards the cut, as a multiple of its width.
_TAPER = 1.5
#: Largest number of cuts that are tried, evenly spread over a mask; each takes a third of a millisecond.
_MOST_CUTS = 48


def parts(mask: Bools) -> list[Bools]:
    """Return the parts of a mask [h, w], each of its shape, in a fixed order; none if it does not branch."""
    if not mask.any():
        return []
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    pieces = []
    for part in _parts(np.pad(mask[window], 1)):
        whole = np.zeros_like(mask)
        whole[window] = part[1:-1, 1:-1]
        pieces.append(whole)
    return pieces


def _parts(mask: Bools) -> list[Bools]:
    """Return the parts of a mask [h, w] whose outermost rows and columns are false."""
    solid = mask.astype(np.uint8)
    depth = np.asarray(cv2.distanceTransform(solid, cv2.DIST_L2, 5), np.float32)
    if float(depth.max()) > _THIN * float(np.sqrt(solid.sum() / np.pi)):
        return []
    skeleton = _skeleton(mask, depth)
    junctions, arms = _junctions_and_arms(skeleton)
    cuts = [
        (junctions == junction, arm)
        for junction in range(1, int(junctions.max()) + 1)
        for arm in np.unique(arms[_grown(junctions == junction) & (arms > 0)])
    ]
    # for every pixel the distance to the nearest pixel of the skeleton, and that pixel's number
    distance, labels = cv2.distanceTransformWithLabels(
        (~skeleton).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    numbers = np.asarray(labels, np.int32)
    accepted: list[Bools] = []
    for junction, arm in cuts[:: -(-len(cuts) // _MOST_CUTS) or 1]:
        cut = _grown(junction) & (arms == arm)
        pieces = _numbered(skeleton & ~cut)
        rest = pieces[junction][0]
        beyond = np.unique(pieces[_grown(cut) & (pieces > 0) & (pieces != rest)])
        if not len(beyond):
            continue  # the arm closes a ring, so that the cut divides nothing
        piece = np.isin(pieces, beyond)
        narrowing = _within(_tapered(depth, piece, cut), np.asarray(distance), numbers, skeleton)
        of_arm = mask & _of_skeleton(piece, numbers, skeleton) & narrowing
        without = mask & ~_of_skeleton(piece | cut, numbers, skeleton)
        accepted += [part for part in (_largest(of_arm), _largest(without)) if _suits(part, mask)]
    return accepted


def _skeleton(mask: Bools, depth: Floats) -> Bools:
    """Return the skeleton of a mask [h, w] without arms that are mere bumps of its outline."""
    from skimage.morphology import skeletonize  # a heavy package, which the web process does not need

    skeleton: Bools = skeletonize(mask)  # type: ignore[no-untyped-call]
    while True:
        junctions, arms = _junctions_and_arms(skeleton)
        bumps = np.zeros_like(skeleton)
        for arm in range(1, int(arms.max()) + 1):
            of_arm = arms == arm
            at = _grown(of_arm) & (junctions > 0)
            ends_free = len(np.unique(junctions[at])) == 1
            if ends_free and np.count_nonzero(of_arm) <= _ARM * float(depth[at].max()):
                bumps |= of_arm
        if not bumps.any():
            return skeleton
        # without its bumps, the skeleton may have pixels that it does not need
        skeleton = skeletonize(skeleton & ~bumps)  # type: ignore[no-untyped-call]


def _junctions_and_arms(skeleton: Bools) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the numbers [h, w] of a skeleton's junctions and of its arms, the pieces between them; 0 elsewhere."""
    neighbours = cv2.filter2D(skeleton.astype(np.uint8), -1, np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT)
    at_junction = skeleton & (neighbours > 3)
    return _numbered(at_junction), _numbered(skeleton & ~at_junction)


def _tapered(depth: Floats, piece: Bools, cut: Bools) -> Floats:
    """Return the half width [h, w] of an arm along its skeleton ``piece``, which falls to 0 at the ``cut``."""
    away = cv2.distanceTransform((~cut).astype(np.uint8), cv2.DIST_L2, 5)
    share = away / np.float32(_TAPER * 2 * max(float(depth[cut].max()), 1.0))
    return np.where(piece & (share < 1), depth * share, np.float32(np.inf)).astype(np.float32)


def _within(half_width: Floats, distance: Floats, numbers: npt.NDArray[np.int32], skeleton: Bools) -> Bools:
    """Return which pixels [h, w] lie within the half width of their nearest pixel of the skeleton."""
    table = np.full(int(numbers.max()) + 1, np.inf, np.float32)
    table[numbers[skeleton]] = half_width[skeleton]
    return np.asarray(distance <= table[numbers])


def _of_skeleton(piece: Bools, numbers: npt.NDArray[np.int32], skeleton: Bools) -> Bools:
    """Return which pixels [h, w] have their nearest pixel of the skeleton in ``piece``."""
    table = np.zeros(int(numbers.max()) + 1, bool)
    table[numbers[skeleton]] = piece[skeleton]
    return np.asarray(table[numbers])


def _suits(part: Bools, whole: Bools) -> bool:
    return _SHARES[0] <= np.count_nonzero(part) / np.count_nonzero(whole) <= _SHARES[1]


def _largest(mask: Bools) -> Bools:
    """Return the largest connected part of a mask."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask
    return np.asarray(pieces == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _grown(mask: Bools) -> Bools:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def _numbered(mask: Bools) -> npt.NDArray[np.int32]:
    return np.asarray(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1], np.int32)
