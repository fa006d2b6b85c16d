"""Exemplars: cut-outs of concept boxes with matte, clean surroundings, and a traceable key."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage
from datagen.domain.spec import Spec
from datagen.domain.trace import ConceptChoice
from datagen.errors import EngineError
from datagen.synthesis.composite.extraction.backdrop import Backdrop, continued
from datagen.synthesis.composite.extraction.background_inpainting import Clean, Frame, around, clean_fill, inside
from datagen.synthesis.composite.extraction.carrier_edge import CarrierEdge, is_notch, notch_edge, split_at_edge
from datagen.synthesis.composite.extraction.cut_sides import WHOLE, CutSides, cut_sides
from datagen.synthesis.composite.extraction.matting import (
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

#: Margin kept round a box: at least this many pixels, and this share of its longer side.
_MARGIN_PX, _MARGIN_SHARE = 8.0, 0.6
#: Largest margin in pixels; wider ones add time but no information.
_MARGIN_MAX_PX = 64.0
#: Most boxes of one label that are cut out; each takes about a twentieth of a second.
MAX_EXEMPLARS = 64
#: Minimum width in pixels of a soft edge, as the median of a label's concepts.
SOFT_EDGE_PX = 3.5
#: Minimum share of their boxes that the mattes of soft concepts fill: a line fills little of its box, and the pixels
#: beside it are not its edge.
_COMPACT_SHARE = 0.3
#: Doubt from which the annotator is asked about a matte. ``scripts/bench mattes`` measures how many mattes are asked
#: about, and how many of them are wrong.
DOUBTFUL = 0.5
#: Minimum roundness of soft concepts, as the median of a label's: the ellipse in the box is no label of other shapes.
#: Median of platelets .92, of leaf miners .81.
_ROUND = 0.85
#: A concept with at least this share of backdrop round its box lies on the backdrop, not on a carrier.
_OFF_CARRIER = 0.95
#: Width in pixels of the edge of a carrier that is replaced with the backdrop, because the lens mixed the two.
_FRINGE_PX = 3
#: The name of the matte of a notch in the carrier.
NOTCH = "notch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One example of a concept, cut out.

    ``patch`` and ``clean`` are tones [h, w, c] of the window ``frame`` of its photo, with and without the concept.
    ``thing`` is the clean window with the concept and no other change. ``mask`` [h, w] is true on the concept.
    ``opacity`` [h, w] in 0..1 is the concept's share of a pixel, below 1 only at its edge. ``doubt`` is that of the
    matte, from 0 to 1; from ``DOUBTFUL`` on, the annotator is asked to check the outline. ``cut`` names the borders of
    the photo that cut it off, and ``edge`` the edge of its carrier at which it lies. The window's tones show the
    carrier continued in place of its backdrop.
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
        """The exemplar in a sample's trace."""
        return ConceptChoice(key=self.key, name=self.name)

    @property
    def in_words(self) -> str:
        """The name shown to users."""
        return _in_words(self.name, self.key)


def _in_words(name: str, key: str) -> str:
    return f"concept {name}, box {int(key.rpartition(':')[2]) + 1}"


def exemplar_key(concept: ConceptImage, region: int) -> str:
    """Return an exemplar's key in parameters and provenance: its photo's digest (12 digits) and region index."""
    return f"{concept.image.digest[:12]}:{region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A box with all mattes of its content, best first.

    ``backdrop`` [h, w] is the backdrop in the window, None if none is in the box; ``photo`` is the photo's height and
    width.
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
    concept: ConceptImage, picture: Picture, choices: Mapping[str, int], templates: Templates | None = None
) -> tuple[tuple[Exemplar, ...], tuple[str, ...]]:
    """Return the exemplars of a single concept photo, and a sentence for every region that needed a fallback.

    Args:
        concept: the photo and its regions.
        picture: its pixels.
        choices: index of the matte to use, by key; the best by default (``CompositeParameters.matte_choices``).
        templates: the search for clean photos of the same part; None disables it.
    """
    boxes, warnings = candidates(concept, picture, templates)
    exemplars, choice_warnings = choose(boxes, choices)
    return exemplars, warnings + choice_warnings


def candidates(
    concept: ConceptImage,
    picture: Picture,
    templates: Templates | None = None,
    chosen: Container[int] | None = None,
    backdrops: Mapping[str, Backdrop | None] | None = None,
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Return every usable box of a concept photo with its mattes, and a sentence for every box that needed a fallback.

    Args:
        concept: the photo and its regions.
        picture: its pixels.
        templates: the search for clean photos of the same part; None disables it.
        chosen: numbers of the regions to cut out; None for all.
        backdrops: the backdrop models of labels whose carrier is known.
    """
    height, width = picture.shape[:2]
    usable: list[Candidate] = []
    warnings: list[str] = []
    boxes = [region.box for region in concept.regions]
    undrawn = templates is not None and any(not region.outline for region in concept.regions)
    template = templates.aligned(picture, boxes, concept.image.name) if templates and undrawn else None
    for number, region in enumerate(concept.regions):
        if chosen is not None and number not in chosen:
            continue
        where = f"concept {concept.image.name}, box {number + 1}"
        box = region.box
        if box.right <= 0 or box.bottom <= 0 or box.x >= width or box.y >= height or min(box.width, box.height) < 1:
            warnings.append(f"{where}: the box covers no pixel of the photo; it was left out. Draw it again.")
            continue
        margin = min(_MARGIN_MAX_PX, max(_MARGIN_PX, _MARGIN_SHARE * max(box.width, box.height)))
        frame = around(box, margin, width, height)
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
                ranked=_ranked(tones, clean, hole, _in_others(boxes, box, frame), drawn, backdrop if notch else None),
                backdrop=backdrop,
                photo=(height, width),
            )
        )
    return tuple(usable), tuple(warnings)


def _in_others(boxes: Sequence[Box], box: Box, frame: Frame) -> Bools:
    """Return which pixels of ``frame`` lie in the other boxes of the photo, [h, w]."""
    others = np.zeros(frame.shape, bool)
    for other in boxes:
        if other != box:
            others |= inside(other, frame)
    return others


def _ranked(
    tones: Floats, clean: Clean, hole: Bools, others: Bools, drawn: Matte | None, notched: Bools | None
) -> tuple[Matte, ...]:
    """Return the mattes of a box, best first: the backdrop in a notch (``notched``), a drawn outline, or automatic."""
    if notched is not None:
        return (Matte(method=NOTCH, mask=notched & (drawn.mask if drawn else hole), score=float("inf")),)
    return (drawn,) if drawn else mattes(tones, clean, hole, others)


def usable_candidates(
    spec: Spec,
    pictures: Pictures,
    progress: Progress,
    backdrops: Mapping[str, Backdrop | None] | None = None,
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Return the usable boxes of all photos, and a sentence for every box that is left out or needed a fallback.

    ``backdrops`` are the backdrop models of labels whose carrier is known.

    Raises:
        EngineError: no concept photo has a usable box.
    """
    usable: list[Candidate] = []
    warnings: list[str] = []
    templates = Templates(spec.backgrounds, pictures)
    chosen, too_many = _chosen_regions(spec)
    warnings += too_many
    for number, concept in enumerate(spec.concepts):
        progress(number / len(spec.concepts), f"cutting out {concept.image.name}")
        of_concept, of_concept_warnings = candidates(
            concept, pictures.load(concept.image), templates, chosen[number], backdrops
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
    """Return the numbers of the regions to cut out of each photo, and a sentence for every label with too many.

    Of a label with more than MAX_EXEMPLARS regions, as many are chosen, evenly distributed over the photos.
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


def choose(found: Sequence[Candidate], choices: Mapping[str, int]) -> tuple[tuple[Exemplar, ...], tuple[str, ...]]:
    """Choose a matte for every candidate, by agreement within its label. Return the exemplars and sentences."""
    ranked: dict[str, tuple[Matte, ...]] = {}
    soft: set[str] = set()
    two_level: set[str] = set()
    for label in {candidate.label for candidate in found}:
        of_label = [candidate for candidate in found if candidate.label == label]
        if sum(is_two_level(candidate.patch[~candidate.hole]) for candidate in of_label) > len(of_label) / 2:
            two_level.add(label)
        mattes_of = agreed([candidate.ranked for candidate in of_label], [candidate.hole for candidate in of_label])
        shares = [
            candidate_mattes[0].mask.sum() / candidate.hole.sum()
            for candidate, candidate_mattes in zip(of_label, mattes_of, strict=True)
        ]
        edges = [candidate_mattes[0].edge for candidate_mattes in mattes_of]
        roundnesses = [roundness(candidate_mattes[0].mask) for candidate_mattes in mattes_of]
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
    for candidate in found:
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
    """Return the matte's mask on the carrier, and the carrier's edge at which the concept lies."""
    if candidate.backdrop is None:
        return matte.mask, None
    if matte.method == NOTCH:
        return matte.mask, notch_edge(matte.mask, candidate.backdrop)
    return split_at_edge(matte.mask, candidate.backdrop)
