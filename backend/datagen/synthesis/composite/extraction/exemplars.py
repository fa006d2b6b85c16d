"""Exemplars: cut-outs of concept boxes with matte, clean surroundings, and a traceable key."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage
from datagen.domain.spec import Spec
from datagen.domain.trace import ConceptChoice
from datagen.errors import EngineError
from datagen.synthesis.composite.extraction.background_inpainting import Clean, Frame, around, clean_fill, inside
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One example of a concept, cut out.

    ``patch`` and ``clean`` are tones [h, w, c] of the window ``frame`` of its photo, with and without the concept.
    ``thing`` is the clean window with the concept and no other change. ``mask`` [h, w] is true on the concept.
    ``opacity`` [h, w] in 0..1 is the concept's share of a pixel, below 1 only at its edge. ``doubt`` is that of the
    matte, from 0 to 1; from ``DOUBTFUL`` on, the annotator is asked to check the outline.
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
    """A box with all mattes of its content, best first."""

    key: str
    name: str
    label: str
    box: Box
    frame: Frame
    patch: Floats
    clean: Clean
    hole: Bools
    ranked: tuple[Matte, ...]


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
    concept: ConceptImage, picture: Picture, templates: Templates | None = None, chosen: Container[int] | None = None
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Return every usable box of a concept photo with its mattes, and a sentence for every box that needed a fallback.

    Args:
        concept: the photo and its regions.
        picture: its pixels.
        templates: the search for clean photos of the same part; None disables it.
        chosen: numbers of the regions to cut out; None for all.
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
        tones = to_tones(picture[frame.slices])
        clean = clean_fill(
            picture, box, frame, boxes, None if template is None else template.window(frame, tones.shape[2])
        )
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
                ranked=(drawn,) if drawn else mattes(tones, clean, hole, _in_others(boxes, box, frame)),
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


def usable_candidates(
    spec: Spec, pictures: Pictures, progress: Progress
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Return the usable boxes of all photos, and a sentence for every box that is left out or needed a fallback.

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
        of_concept, of_concept_warnings = candidates(concept, pictures.load(concept.image), templates, chosen[number])
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
                f"label {label!r}: {len(of_label):,} boxes were drawn, and {count} of them, from all photos, are cut "
                "out. The others are used for the number and the distances of instances in an image."
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
            fixed = candidate_mattes[0].method in ("drawn", "box")
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
        opacity, thing = np.ones(matte.mask.shape, np.float32), candidate.patch
        if candidate.label not in two_level:  # a picture of two tones has no mixed pixels
            measured = ranked[candidate.key][1] if matte.method.endswith("to the box") else matte
            opacity, thing = unmixed(
                candidate.patch, candidate.clean.tones, matte.mask, measured.mask, soft=candidate.label in soft
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
                mask=matte.mask,
                thing=thing,
                opacity=opacity,
                method=matte.method,
                score=matte.score,
                doubt=matte.doubt,
            )
        )
    return tuple(exemplars), tuple(warnings)
