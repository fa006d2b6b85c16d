"""Exemplars: each concept box as a cut-out with its matte, its clean surroundings, and a key that people can trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage
from datagen.synthesis.composite.extraction.background_inpainting import Clean, Frame, around, clean_fill, inside
from datagen.synthesis.composite.extraction.matting import Matte, agreed, drawn_matte, mattes, to_the_box, unmixed
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.engine import Picture
from datagen.synthesis.intensity import Bools, Floats, is_two_level, to_tones

#: Pixels of surroundings kept round a box, at least, and as a share of its longer side.
_MARGIN_PX, _MARGIN_SHARE = 8.0, 0.6
#: Surroundings beyond this many pixels say nothing about the thing and cost time.
_MARGIN_MOST_PX = 64.0
#: An edge at least this many pixels wide, on the median of a label's concepts, is soft, …
SOFT_EDGE_PX = 3.5
#: … if the mattes fill at least this share of their boxes: a line fills little of its box, and the pixels beside it are
#: not its edge.
_COMPACT_SHARE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemplar:
    """One example of the thing, cut out.

    ``patch`` and ``clean`` are tones [h, w, c] of the window ``frame`` of its photo, with and without the thing, and
    ``thing`` has nothing but the thing on the clean window; ``mask`` [h, w] is true on it; ``opacity`` [h, w] in 0..1
    is how much of a pixel it is, below 1 at its edge only.
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

    @property
    def in_words(self) -> str:
        """What people know it by."""
        return _in_words(self.name, self.key)


def _in_words(name: str, key: str) -> str:
    return f"concept {name}, box {int(key.rpartition(':')[2]) + 1}"


def exemplar_key(concept: ConceptImage, region: int) -> str:
    """What parameters and provenance call an exemplar: the start of its photo's digest and the region's number."""
    return f"{concept.image.digest[:12]}:{region}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A box with every matte made of what is in it, best first."""

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
    """The exemplars of one concept photo by itself, and a sentence for every region that needed a way out.

    Args:
        concept: the photo and its regions.
        picture: its pixels.
        choices: which matte to use, by key, where not the best (``CompositeParameters.matte_choices``).
        templates: where clean photos of the same part are looked for; None looks for none.
    """
    found, said = candidates(concept, picture, templates)
    made, more = choose(found, choices)
    return made, said + more


def candidates(
    concept: ConceptImage, picture: Picture, templates: Templates | None = None
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Every usable box of a concept photo with its mattes, and a sentence for every one that needed a way out.

    Args:
        concept: the photo and its regions.
        picture: its pixels.
        templates: where clean photos of the same part are looked for; None looks for none.
    """
    height, width = picture.shape[:2]
    made: list[Candidate] = []
    said: list[str] = []
    boxes = [region.box for region in concept.regions]
    undrawn = templates is not None and any(not region.outline for region in concept.regions)
    template = templates.aligned(picture, boxes, concept.image.name) if templates and undrawn else None
    for number, region in enumerate(concept.regions):
        where = f"concept {concept.image.name}, box {number + 1}"
        box = region.box
        if box.right <= 0 or box.bottom <= 0 or box.x >= width or box.y >= height or min(box.width, box.height) < 1:
            said.append(f"{where}: the box covers no pixel of the photo; it was left out. Draw it again.")
            continue
        margin = min(_MARGIN_MOST_PX, max(_MARGIN_PX, _MARGIN_SHARE * max(box.width, box.height)))
        frame = around(box, margin, width, height)
        hole = inside(box, frame)
        tones = to_tones(picture[frame.slices])
        clean = clean_fill(
            picture, box, frame, boxes, None if template is None else template.window(frame, tones.shape[2])
        )
        drawn = drawn_matte(region.outline, frame)
        if region.outline and not drawn:
            said.append(
                f"{where}: the drawn outline covers no pixel, so the thing was cut out from its box. Draw the "
                "outline again."
            )
        if hole.mean() > 0.999:
            said.append(
                f"{where}: the box covers the whole photo, so nothing shows what lies round the thing; "
                "its clean surroundings are guessed. Draw the box closer."
            )
        made.append(
            Candidate(
                key=exemplar_key(concept, number),
                name=concept.image.name,
                label=region.label,
                box=box,
                frame=frame,
                patch=tones,
                clean=clean,
                hole=hole,
                ranked=(drawn,) if drawn else mattes(tones, clean, hole),
            )
        )
    return tuple(made), tuple(said)


def choose(found: Sequence[Candidate], choices: Mapping[str, int]) -> tuple[tuple[Exemplar, ...], tuple[str, ...]]:
    """One matte for every candidate, the candidates of a label agreeing with one another; and sentences."""
    ranked: dict[str, tuple[Matte, ...]] = {}
    soft: set[str] = set()
    two_level: set[str] = set()
    for label in {one.label for one in found}:
        same = [one for one in found if one.label == label]
        if sum(is_two_level(one.patch[~one.hole]) for one in same) > len(same) / 2:
            two_level.add(label)
        mattes_of = agreed([one.ranked for one in same], [one.hole for one in same])
        shares = [of_one[0].mask.sum() / one.hole.sum() for one, of_one in zip(same, mattes_of, strict=True)]
        edges = [of_one[0].edge for of_one in mattes_of]
        if float(np.median(edges)) >= SOFT_EDGE_PX and float(np.median(shares)) >= _COMPACT_SHARE:
            soft.add(label)
        for one, of_one in zip(same, mattes_of, strict=True):
            found_none = of_one[0].method in ("drawn", "box")
            ranked[one.key] = of_one if found_none or label not in soft else to_the_box(of_one, one.hole)
    made: list[Exemplar] = []
    said: list[str] = []
    for one in found:
        matte = ranked[one.key][min(choices.get(one.key, 0), len(ranked[one.key]) - 1)]
        if matte.method == "box":
            said.append(
                f"{_in_words(one.name, one.key)}: nothing in the box stands out from its "
                "surroundings; the ellipse inside the box is used as its label. Draw its outline, or remove the box."
            )
        opacity, thing = np.ones(matte.mask.shape, np.float32), one.patch
        if one.label not in two_level:  # a picture of two tones has no mixed ones
            measured = ranked[one.key][1] if matte.method.endswith("to the box") else matte
            opacity, thing = unmixed(one.patch, one.clean.tones, matte.mask, measured.mask, soft=one.label in soft)
        made.append(
            Exemplar(
                key=one.key,
                name=one.name,
                label=one.label,
                box=one.box,
                frame=one.frame,
                patch=one.patch,
                clean=one.clean.tones,
                mask=matte.mask,
                thing=thing,
                opacity=opacity,
                method=matte.method,
                score=matte.score,
            )
        )
    return tuple(made), tuple(said)
