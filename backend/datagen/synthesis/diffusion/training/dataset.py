"""What the model is taught from: crops round the concepts, some with the concept masked, some with random boxes.

DefectFill (CVPR 2025): masking the defect teaches what it looks like, masking random boxes how it belongs to what it
lies on.
numpy only; ``Lesson`` number n is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Spec
from datagen.errors import EngineError
from datagen.synthesis.composite.extraction.exemplars import Candidate, Exemplar, candidates, choose
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.models.crops import enlarged, enlarged_mask, square
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.engine import Picture, Pictures
from datagen.synthesis.intensity import Bools, Floats

#: Lessons made of each example, within these bounds in all: they are encoded once, so memory bounds them.
_PER_EXAMPLE, _LEAST, _MOST = 8, 32, 256
#: The window's side varies by these factors about the one painted in, so that the size in the crop is not learned.
_NEARER, _FARTHER = 0.8, 1.5
#: Random boxes in a crop, and their sides as shares of it: as public reimplementations of DefectFill have them.
_BOXES, _BOX_SIDE = 30, (0.03, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A crop [r, r, 3] (0 to 1), the concept's mask and that of random boxes, both [r, r] (0 or 1), and its label."""

    image: Floats
    concept: Floats
    boxes: Floats
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An exemplar in its whole photo: where all things of its label are in that photo."""

    exemplar: Exemplar
    photo: ImageRef
    things: Bools


def examples_of(spec: Spec, pictures: Pictures, where: CompositeParameters) -> tuple[Example, ...]:
    """The spec's usable boxes with their mattes; ``composite.extraction.exemplars`` says what was not usable."""
    found: list[Candidate] = []
    photos: dict[str, ImageRef] = {}
    templates = Templates(spec.backgrounds, pictures)
    for concept in spec.concepts:
        made, _ = candidates(concept, pictures.load(concept.image), templates)
        for one in made:
            if one.label in spec.labels:
                found.append(one)
                photos[one.key] = concept.image
    exemplars, _ = choose(found, where.matte_choices)
    if not exemplars:
        raise EngineError("no concept image has a usable box; draw at least one box round the thing, with its label.")
    things: dict[tuple[str, str], Bools] = {}
    for exemplar in exemplars:
        photo = photos[exemplar.key]
        shape = (photo.height, photo.width)
        all_of = things.setdefault((photo.digest, exemplar.label), np.zeros(shape, bool))
        all_of[exemplar.frame.slices] |= exemplar.mask
    return tuple(
        Example(exemplar=one, photo=photos[one.key], things=things[photos[one.key].digest, one.label])
        for one in exemplars
    )


def make_lessons(
    examples: Sequence[Example], pictures: Pictures, parameters: DiffusionParameters, seed: int
) -> Iterator[Lesson]:
    """Crops of every example in turn, each at its own place and scale, every second one mirrored.

    Made one by one: all of them at 1024 pixels would fill 5 GB.
    """
    for number in range(min(_MOST, max(_LEAST, _PER_EXAMPLE * len(examples)))):
        example = examples[number % len(examples)]
        chance = np.random.default_rng([seed, number])
        yield _lesson(example, pictures.load(example.photo), parameters, chance)


def _lesson(example: Example, photo: Picture, parameters: DiffusionParameters, chance: np.random.Generator) -> Lesson:
    ys, xs = np.nonzero(example.exemplar.mask)
    longer = max(int(np.ptp(ys)), int(np.ptp(xs))) + 1
    side = max(24.0, parameters.context * longer * float(np.exp(chance.uniform(np.log(_NEARER), np.log(_FARTHER)))))
    # the thing may lie anywhere in the crop that holds all of it
    slack = max(0.0, (side - longer) / 2 - 2)
    centre_x = example.exemplar.frame.left + (xs.min() + xs.max() + 1) / 2 + chance.uniform(-slack, slack)
    centre_y = example.exemplar.frame.top + (ys.min() + ys.max() + 1) / 2 + chance.uniform(-slack, slack)
    frame = square(float(centre_x), float(centre_y), side, photo.shape[1], photo.shape[0])
    r = parameters.resolution
    image = enlarged(photo, frame, r)
    concept = enlarged_mask(example.things[frame.slices], r)
    concept = cv2.dilate(concept, np.ones((3, 3), np.uint8))
    if chance.random() < 0.5:
        image, concept = image[:, ::-1], concept[:, ::-1]
    boxes = np.zeros((r, r), np.float32)
    for _ in range(_BOXES):
        high, wide = (max(1, int(r * chance.uniform(*_BOX_SIDE))) for _ in range(2))
        top, left = int(chance.integers(0, r - high)), int(chance.integers(0, r - wide))
        boxes[top : top + high, left : left + wide] = 1
    return Lesson(
        image=np.ascontiguousarray(image),
        concept=np.ascontiguousarray(concept),
        boxes=boxes,
        label=example.exemplar.label,
    )
