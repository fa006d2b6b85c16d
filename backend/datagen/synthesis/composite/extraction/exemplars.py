"""Exemplars: concepts that were cut out of the boxes drawn on photos.

An exemplar has a mask, its window with and without the concept, and a key that names its photo and box."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage
from datagen.domain.spec import Spec
from datagen.domain.trace import ConceptChoice, concept_key
from datagen.errors import EngineError
from datagen.synthesis.composite.extraction.backdrop import Backdrop, continued
from datagen.synthesis.composite.extraction.background_inpainting import Clean, Frame, around, clean_fill, inside
from datagen.synthesis.composite.extraction.carrier_edge import CarrierEdge, is_notch, notch_edge, split_at_edge
from datagen.synthesis.composite.extraction.cut_sides import WHOLE, CutSides, cut_sides
from datagen.synthesis.composite.extraction.matting import (
    CLOSED_FORM,
    Matte,
    agreed,
    drawn_matte,
    mattes,
    roundness,
    to_the_box,
    unmixed,
)
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.engine import Picture, Pictures, Progress
from datagen.synthesis.intensity import Bools, Floats, is_two_level, to_tones
from datagen.synthesis.segmentation.segmenter import Segmenter

#: Margin round a box: the larger of this many pixels, and this share of the box's longer side.
_MARGIN_PX, _MARGIN_SHARE = 8.0, 0.6
#: Largest margin in pixels; wider ones add time but no information.
_MARGIN_MAX_PX = 64.0
#: Largest number of boxes of one label that are cut out; each takes about a twentieth of a second.
MAX_EXEMPLARS = 64
#: A label has soft edges if the median width of its concepts' edges is at least this, in pixels.
SOFT_EDGE_PX = 3.5
#: Minimum median share of their boxes that the mattes of a label with soft edges fill. A line fills less of its box,
#: and the pixels beside it are not its edge.
_COMPACT_SHARE = 0.3
#: The annotator is asked about a matte with at least this doubt. ``scripts/bench mattes`` measures how many mattes are
#: asked about, and how many of these are wrong.
DOUBTFUL = 0.5
#: Minimum median roundness of a label with soft edges, because the mask of such a label is extended to the ellipse in
#: the box. The median of platelets is 0.92, that of leaf miners is 0.81.
_ROUND = 0.85
#: A concept lies on the backdrop, not on a carrier, if at least this share of the window outside its box is backdrop.
_OFF_CARRIER = 0.95
#: On a concept photo, a strip of this width in pixels along the carrier's edge is treated as backdrop, because the lens
#: mixed carrier and backdrop there.
_FRINGE_PX = 3
#: The method of a matte that is a notch in the carrier.
NOTCH = "notch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One example of a concept, cut out of its photo.

    ``patch`` and ``clean`` are the tones [h, w, c] of the window ``frame`` with and without the concept. In both, the
    carrier is continued in place of the backdrop behind it. ``thing`` is the clean window with the concept and no other
    change. ``mask`` [h, w] is true on the concept. ``opacity`` [h, w] in 0..1 is the concept's share of a pixel; it is
    below 1 only at the concept's edge.

    ``doubt``, from 0 to 1, is that of the matte; from ``DOUBTFUL`` on, the annotator is asked to check the outline.
    ``cut`` holds the borders of the photo that cut the concept off. ``edge`` is the edge of the carrier at which the
    concept lies, or None.
    """

    key: str
    name: str
    label: str
    box: Box
    frame: Frame
    patch: Floats
    clean: Floats
    thing: Floats
    mask: Bools
    opacity: Floats
    method: str
    score: float
    doubt: float = 0.0
    cut: CutSides = WHOLE
    edge: CarrierEdge | None = None

    @property
    def choice(self) -> ConceptChoice:
        """The exemplar as it is recorded in a sample's trace."""
        return ConceptChoice(key=self.key, name=self.name)

    @property
    def in_words(self) -> str:
        """The name of the exemplar in sentences for users."""
        return _in_words(self.name, self.key)


def _in_words(name: str, key: str) -> str:
    return f"concept {name}, box {int(key.rpartition(':')[2]) + 1}"


def exemplar_key(concept: ConceptImage, region: int) -> str:
    """Return the key that names an exemplar in parameters and provenance."""
    return concept_key(concept.image.digest, region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A box with all mattes of its content, best first.

    ``backdrop`` [h, w] is the backdrop in the window, or None if the box contains none. ``photo`` is the height and
    width of the photo in pixels.
    """

    key: str
    name: str
    label: str
    box: Box
    frame: Frame
    patch: Floats
    clean: Clean
    hole: Bools
    ranked: tuple[Matte, ...]
    backdrop: Bools | None
    photo: tuple[int, int]


def cut_out(
    concept: ConceptImage,
    picture: Picture,
    choices: Mapping[str, int],
    templates: Templates | None = None,
    segmenter: Segmenter | None = None,
) -> tuple[tuple[Exemplar, ...], tuple[str, ...]]:
    """Return the exemplars of a single concept photo, and a sentence for each region that needed a fallback.

    Args:
        concept: the photo and its regions.
        picture: the photo's pixels.
        choices: the index of the matte to use, by exemplar key (``CompositeParameters.matte_choices``); 0, the best, by
            default.
        templates: the search for clean photos of the same part; None disables it.
        segmenter: the segmentation model that proposes mattes; None for no model.

    Raises:
        EngineError: the segmentation model failed.
        DeviceFault: the segmentation model's device failed.
    """
    boxes, warnings = candidates(concept, picture, templates, segmenter=segmenter)
    exemplars, choice_warnings = choose(boxes, choices)
    return exemplars, warnings + choice_warnings


def candidates(
    concept: ConceptImage,
    picture: Picture,
    templates: Templates | None = None,
    chosen: Container[int] | None = None,
    backdrops: Mapping[str, Backdrop | None] | None = None,
    segmenter: Segmenter | None = None,
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Return each usable box of a concept photo with its mattes, and a sentence for each box that needed a fallback.

    Args:
        concept: the photo and its regions.
        picture: the photo's pixels.
        templates: the search for clean photos of the same part; None disables it.
        chosen: the indices of the regions to cut out; None for all.
        backdrops: by label, the backdrop model, or None for a label without one.
        segmenter: the segmentation model that proposes mattes; None for no model.

    Raises:
        EngineError: the segmentation model failed.
        DeviceFault: the segmentation model's device failed.
    """
    height, width = picture.shape[:2]
    usable: list[Candidate] = []
    warnings: list[str] = []
    boxes = [region.box for region in concept.regions]
    undrawn = templates is not None and any(not region.outline for region in concept.regions)
    template = templates.aligned(picture, boxes, concept.image.name) if templates and undrawn else None
    numbers = [number for number in range(len(boxes)) if chosen is None or number in chosen]
    segmented = _segmented(segmenter, picture, concept, numbers) if segmenter is not None else {}
    for number in numbers:
        region = concept.regions[number]
        where = f"concept {concept.image.name}, box {number + 1}"
        box = region.box
        if not _covers_pixels(box, width, height):
            warnings.append(f"{where}: the box covers no pixel of the photo; it was left out. Draw it again.")
            continue
        frame = _window(box, width, height)
        hole = inside(box, frame)
        model = None if backdrops is None else backdrops.get(region.label)
        backdrop = None if model is None else model.inside(picture, frame, model.sure(picture, boxes), _FRINGE_PX)
        if backdrop is not None and (~hole).any() and backdrop[~hole].mean() >= _OFF_CARRIER:
            warnings.append(
                f"{where}: it lies where the polygons of the canvases leave similar photos out, so it is cut out "
                "without regard to them. Check the polygons."
            )
            backdrop = None
        # a concept whose box is free of backdrop does not lie at its carrier's edge
        backdrop = backdrop if backdrop is not None and (backdrop & hole).any() else None
        photographed = to_tones(picture[frame.slices])
        on_carrier = picture if backdrop is None else continued(picture, frame, backdrop)
        tones = to_tones(on_carrier[frame.slices])
        others = np.any([inside(other, frame) for other in boxes if other != box] or [np.zeros_like(hole)], axis=0)
        notch = backdrop is not None and is_notch(photographed, hole, others, backdrop)
        if notch:
            clean = Clean(tones=tones, error=0.0, worst=0.0, method="carrier")
            tones = photographed
            # a notch has the size of the backdrop without the mixed edge
            backdrop = cv2.erode(np.asarray(backdrop, np.uint8), np.ones((3, 3), np.uint8), iterations=_FRINGE_PX) > 0
        else:
            from_template = None if template is None else template.window(frame, tones.shape[2])
            clean = clean_fill(on_carrier, box, frame, boxes, from_template)
        drawn = drawn_matte(region.outline, frame)
        if region.outline and not drawn:
            warnings.append(
                f"{where}: the drawn outline covers no pixel, so the concept was cut out from its box. Draw the "
                "outline again."
            )
        if hole.mean() > 0.999:
            warnings.append(
                f"{where}: the box covers the whole photo, so nothing shows what lies round the concept; "
                "its clean surroundings are guessed. Draw the box closer."
            )
        usable.append(
            Candidate(
                key=exemplar_key(concept, number),
                name=concept.image.name,
                label=region.label,
                box=box,
                frame=frame,
                patch=tones,
                clean=clean,
                hole=hole,
                ranked=_ranked(
                    tones,
                    clean,
                    hole,
                    _in_others(boxes, box, frame),
                    drawn,
                    backdrop if notch else None,
                    segmented.get(number),
                ),
                backdrop=backdrop,
                photo=(height, width),
            )
        )
    return tuple(usable), tuple(warnings)


def _covers_pixels(box: Box, width: int, height: int) -> bool:
    """Return whether a box covers a pixel of a photo of ``width`` by ``height`` pixels."""
    meets = box.right > 0 and box.bottom > 0 and box.x < width and box.y < height
    return meets and min(box.width, box.height) >= 1


def _window(box: Box, width: int, height: int) -> Frame:
    """Return the window of a box: the box with a margin, clipped to a photo of ``width`` by ``height`` pixels."""
    margin = min(_MARGIN_MAX_PX, max(_MARGIN_PX, _MARGIN_SHARE * max(box.width, box.height)))
    return around(box, margin, width, height)


def _segmented(
    segmenter: Segmenter, picture: Picture, concept: ConceptImage, numbers: Sequence[int]
) -> dict[int, Bools]:
    """Return a segmentation model's mask of each usable box without an outline, in the box's window, by its number."""
    height, width = picture.shape[:2]
    asked = [
        number
        for number in numbers
        if not concept.regions[number].outline and _covers_pixels(concept.regions[number].box, width, height)
    ]
    boxes = [concept.regions[number].box for number in asked]
    masks = segmenter.masks(picture, boxes)
    return {
        number: mask[_window(box, width, height).slices].copy()
        for number, box, mask in zip(asked, boxes, masks, strict=True)
    }


def _in_others(boxes: Sequence[Box], box: Box, frame: Frame) -> Bools:
    """Return which pixels of ``frame`` lie in other boxes of the photo than ``box``, [h, w]."""
    others = np.zeros(frame.shape, bool)
    for other in boxes:
        if other != box:
            others |= inside(other, frame)
    return others


def _ranked(
    tones: Floats,
    clean: Clean,
    hole: Bools,
    others: Bools,
    drawn: Matte | None,
    notched: Bools | None,
    segmented: Bools | None,
) -> tuple[Matte, ...]:
    """Return the mattes of a box, best first.

    A notch has one matte, which is its backdrop ``notched``. Otherwise a drawn outline is the only matte. Without
    either, the mattes are found automatically; ``segmented`` is the mask of a segmentation model, or None.
    """
    if notched is not None:
        return (Matte(method=NOTCH, mask=notched & (drawn.mask if drawn else hole), score=float("inf")),)
    return (drawn,) if drawn else mattes(tones, clean, hole, others, segmented)


def usable_candidates(
    spec: Spec,
    pictures: Pictures,
    progress: Progress,
    backdrops: Mapping[str, Backdrop | None] | None = None,
    segmenter: Segmenter | None = None,
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Return the usable boxes of all photos, and a sentence for each box that is left out or needed a fallback.

    ``backdrops`` are the backdrop models by label; None for a label without one. ``segmenter`` is the segmentation
    model that proposes mattes; None for no model.

    Raises:
        EngineError: no concept photo has a usable box, or the segmentation model failed.
        DeviceFault: the segmentation model's device failed.
    """
    usable: list[Candidate] = []
    warnings: list[str] = []
    templates = Templates(spec.backgrounds, pictures)
    chosen, too_many = _chosen_regions(spec)
    warnings += too_many
    for number, concept in enumerate(spec.concepts):
        progress(number / len(spec.concepts), f"cutting out {concept.image.name}")
        of_concept, of_concept_warnings = candidates(
            concept, pictures.load(concept.image), templates, chosen[number], backdrops, segmenter
        )
        warnings += of_concept_warnings
        for candidate in of_concept:
            if candidate.label in spec.labels:
                usable.append(candidate)
            else:
                warnings.append(
                    f"concept {candidate.name}: its label {candidate.label!r} is not one of the study's "
                    f"({', '.join(spec.labels)}); the box was left out. Relabel it, or add the label."
                )
    if not usable:
        raise EngineError("no concept image has a usable box; draw at least one box round the concept, with its label.")
    return tuple(usable), tuple(warnings)


def _chosen_regions(spec: Spec) -> tuple[list[set[int]], list[str]]:
    """Return the indices of the regions to cut out of each photo, and a sentence for each label with too many regions.

    If a label has more than MAX_EXEMPLARS regions, MAX_EXEMPLARS of them are chosen, evenly distributed over the
    photos.
    """
    chosen: list[set[int]] = [set() for _ in spec.concepts]
    warnings = []
    for label in dict.fromkeys(region.label for concept in spec.concepts for region in concept.regions):
        of_label = [
            (photo, number)
            for photo, concept in enumerate(spec.concepts)
            for number, region in enumerate(concept.regions)
            if region.label == label
        ]
        count = min(len(of_label), MAX_EXEMPLARS)
        for n in range(count):
            photo, number = of_label[n * len(of_label) // count]
            chosen[photo].add(number)
        if count < len(of_label):
            warnings.append(
                f"label {label!r}: of the {len(of_label):,} boxes drawn, {count}, from all photos, are cut out. "
                "The others are used for the number and the distances of instances in an image."
            )
    return chosen, warnings


def choose(extracted: Sequence[Candidate], choices: Mapping[str, int]) -> tuple[tuple[Exemplar, ...], tuple[str, ...]]:
    """Return the exemplars with the chosen matte for each candidate, and sentences about doubtful mattes.

    A candidate's matte is that of ``choices``, or else the best after the mattes of one label were compared.
    """
    ranked: dict[str, tuple[Matte, ...]] = {}
    soft: set[str] = set()
    two_level: set[str] = set()
    for label in {candidate.label for candidate in extracted}:
        of_label = [candidate for candidate in extracted if candidate.label == label]
        if sum(is_two_level(candidate.patch[~candidate.hole]) for candidate in of_label) > len(of_label) / 2:
            two_level.add(label)
        mattes_of = agreed([candidate.ranked for candidate in of_label], [candidate.hole for candidate in of_label])
        # the closed form ends where the difference does: the width of an edge is not measured from there
        thresholded = [next(matte for matte in box if matte.method != CLOSED_FORM) for box in mattes_of]
        shares = [
            matte.mask.sum() / candidate.hole.sum() for candidate, matte in zip(of_label, thresholded, strict=True)
        ]
        edges = [matte.edge for matte in thresholded]
        roundnesses = [roundness(matte.mask) for matte in thresholded]
        if (
            float(np.median(edges)) >= SOFT_EDGE_PX
            and float(np.median(shares)) >= _COMPACT_SHARE
            and float(np.median(roundnesses)) >= _ROUND
        ):
            soft.add(label)
        for candidate, candidate_mattes in zip(of_label, mattes_of, strict=True):
            fixed = candidate_mattes[0].method in ("drawn", "box", NOTCH)
            ranked[candidate.key] = (
                candidate_mattes if fixed or label not in soft else to_the_box(candidate_mattes, candidate.hole)
            )
    exemplars: list[Exemplar] = []
    warnings: list[str] = []
    for candidate in extracted:
        matte = ranked[candidate.key][min(choices.get(candidate.key, 0), len(ranked[candidate.key]) - 1)]
        if matte.method == "box":
            warnings.append(
                f"{_in_words(candidate.name, candidate.key)}: nothing in the box stands out from its "
                "surroundings; the ellipse inside the box is used as its label. Draw its outline, or remove the box."
            )
        elif matte.doubt >= DOUBTFUL:
            warnings.append(
                f"{_in_words(candidate.name, candidate.key)}: more than one outline is possible, because the methods "
                "that look for it disagree. Check the outline that is proposed in its photo: correct it and submit it."
            )
        mask, edge = _at_edge(candidate, matte)
        if not mask.any():
            warnings.append(
                f"{_in_words(candidate.name, candidate.key)}: its tones are those that the polygons of the canvases "
                "leave out, so it is cut out without regard to them. Draw its outline, or check the polygons."
            )
            mask = matte.mask
        whole = mask if edge is None else mask | edge.beyond
        opacity, thing = np.ones(mask.shape, np.float32), candidate.patch
        measured = ranked[candidate.key][1] if matte.method.endswith("to the box") else matte
        if candidate.label not in two_level:  # a picture of two tones has no mixed pixels
            opacity, thing = unmixed(
                candidate.patch, candidate.clean.tones, whole, measured.mask, soft=candidate.label in soft
            )
        exemplars.append(
            Exemplar(
                key=candidate.key,
                name=candidate.name,
                label=candidate.label,
                box=candidate.box,
                frame=candidate.frame,
                patch=candidate.patch,
                clean=candidate.clean.tones,
                mask=mask,
                thing=thing,
                opacity=opacity,
                method=matte.method,
                score=matte.score,
                doubt=matte.doubt,
                cut=cut_sides(mask, measured.mask, candidate.frame, *candidate.photo[::-1]),
                edge=edge,
            )
        )
    return tuple(exemplars), tuple(warnings)


def _at_edge(candidate: Candidate, matte: Matte) -> tuple[Bools, CarrierEdge | None]:
    """Return the matte's mask on the carrier, and the carrier's edge at which the concept lies, or None."""
    if candidate.backdrop is None:
        return matte.mask, None
    if matte.method == NOTCH:
        return matte.mask, notch_edge(matte.mask, candidate.backdrop)
    return split_at_edge(matte.mask, candidate.backdrop)
