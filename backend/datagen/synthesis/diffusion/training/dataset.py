"""The training set: crops around the concepts, each with a mask of the concept and a mask of random boxes.

As in DefectFill (CVPR 2025), masking the concept trains its appearance. Masking random boxes trains how the concept
relates to the surface that it is on.

This module does not import torch. ``Lesson`` number n is the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Spec
from datagen.synthesis.composite.extraction.exemplars import Exemplar, choose, exemplar_key, usable_candidates
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.models.crops import enlarged, enlarged_mask, square
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.engine import Picture, Pictures
from datagen.synthesis.intensity import Bools, Floats
from datagen.synthesis.segmentation.loading import load_segmenter

#: Number of lessons for each example, and the bounds of their total. All lessons are encoded at once, so memory limits
#: their total.
_LESSONS_PER_EXAMPLE, _MIN_LESSONS, _MAX_LESSONS = 8, 32, 256
#: Smallest and largest side of a lesson's crop, as multiples of the side used for inpainting. The side varies so that
#: the model does not learn the size of the concept in the crop.
_NEARER, _FARTHER = 0.8, 1.5
#: Number of random boxes in a crop, and the range of their sides as shares of the crop's side. The values are those of
#: public reimplementations of DefectFill.
_BOXES, _BOX_SIDE = 30, (0.03, 0.25)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One training crop, with its masks and its label.

    ``image`` is [r, r, 3] from 0 to 1. ``concept`` and ``boxes`` are the masks [r, r] of the concept and of random
    boxes, with values 0 or 1.
    """

    image: Floats
    concept: Floats
    boxes: Floats
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An exemplar with its whole photo. ``concept_mask`` shows all concepts of its label in the photo, [h, w]."""

    exemplar: Exemplar
    photo: ImageRef
    concept_mask: Bools


def examples_of(spec: Spec, pictures: Pictures, where: CompositeParameters) -> tuple[Example, ...]:
    """Return an example for each usable box of the spec. ``composite.extraction.exemplars`` reports the other boxes.

    Raises:
        EngineError: no concept image has a usable box, or the segmentation model cannot be used.
        DeviceFault: the segmentation model's device failed.
    """
    segmenter = load_segmenter(where.segmenter)
    usable, _ = usable_candidates(spec, pictures, lambda _share, _step: None, segmenter=segmenter)
    exemplars, _ = choose(usable, where.matte_choices)
    photos = {
        exemplar_key(concept, number): concept.image
        for concept in spec.concepts
        for number in range(len(concept.regions))
    }
    masks: dict[tuple[str, str], Bools] = {}
    for exemplar in exemplars:
        photo = photos[exemplar.key]
        shape = (photo.height, photo.width)
        mask = masks.setdefault((photo.digest, exemplar.label), np.zeros(shape, bool))
        mask[exemplar.frame.slices] |= exemplar.mask
    return tuple(
        Example(
            exemplar=exemplar,
            photo=photos[exemplar.key],
            concept_mask=masks[photos[exemplar.key].digest, exemplar.label],
        )
        for exemplar in exemplars
    )


def make_lessons(
    examples: Sequence[Example], pictures: Pictures, parameters: DiffusionParameters, seed: int
) -> Iterator[Lesson]:
    """Yield lessons from the examples in turn, with random positions and scales; half of the lessons are mirrored.

    They are yielded one by one, because all of them at 1024 pixels would take 5 GB.
    """
    for number in range(min(_MAX_LESSONS, max(_MIN_LESSONS, _LESSONS_PER_EXAMPLE * len(examples)))):
        example = examples[number % len(examples)]
        rng = np.random.default_rng([seed, number])
        yield _lesson(example, pictures.load(example.photo), parameters, rng)


def _lesson(example: Example, photo: Picture, parameters: DiffusionParameters, rng: np.random.Generator) -> Lesson:
    ys, xs = np.nonzero(example.exemplar.mask)
    longer = max(int(np.ptp(ys)), int(np.ptp(xs))) + 1
    side = max(24.0, parameters.context * longer * float(np.exp(rng.uniform(np.log(_NEARER), np.log(_FARTHER)))))
    # a random position in the crop that keeps the whole concept inside
    slack = max(0.0, (side - longer) / 2 - 2)
    centre_x = example.exemplar.frame.left + (xs.min() + xs.max() + 1) / 2 + rng.uniform(-slack, slack)
    centre_y = example.exemplar.frame.top + (ys.min() + ys.max() + 1) / 2 + rng.uniform(-slack, slack)
    frame = square(float(centre_x), float(centre_y), side, photo.shape[1], photo.shape[0])
    r = parameters.resolution
    image = enlarged(photo, frame, r)
    concept = enlarged_mask(example.concept_mask[frame.slices], r)
    concept = cv2.dilate(concept, np.ones((3, 3), np.uint8))
    if rng.random() < 0.5:
        image, concept = image[:, ::-1], concept[:, ::-1]
    boxes = np.zeros((r, r), np.float32)
    for _ in range(_BOXES):
        high, wide = (max(1, int(r * rng.uniform(*_BOX_SIDE))) for _ in range(2))
        top, left = int(rng.integers(0, r - high)), int(rng.integers(0, r - wide))
        boxes[top : top + high, left : left + wide] = 1
    return Lesson(
        image=np.ascontiguousarray(image),
        concept=np.ascontiguousarray(concept),
        boxes=boxes,
        label=example.exemplar.label,
    )
