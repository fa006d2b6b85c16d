"""Composition of one sample: its background, instances and labels, determined by the sample's index and seed.

Placement attempts are repeated until one passes, and the reasons of rejections are counted. Pixels are written in a
single statement, only under the mask, so that no other pixel can change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.domain.sample import Instance
from datagen.domain.trace import InstanceTrace, Trace
from datagen.synthesis.composite.backgrounds import Backgrounds
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.layout import Layout, LayoutModel, at_distance
from datagen.synthesis.composite.placement_attempt import (
    LearnedByLabel,
    PlacedInstance,
    PlacementAttempt,
    PlacementCanvas,
    PlacementTask,
    QuasiRandomDraws,
)
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import from_tones
from datagen.synthesis.masks import outlines, tight_box

#: Attempts for one instance on one background; the requirements are lowered in the last quarter.
TRIES = 24
#: Attempts with the scheduled concept; later ones draw one at random, so that a difficult one cannot fail an image.
_SCHEDULED_ATTEMPTS = 5
#: Backgrounds tried for a sample if its own has no area or nothing can be placed on it.
_BACKGROUNDS = 4
#: Steps of the quasi-random sequence (fractional parts of multiples). Each sequence is evenly distributed in 0..1 from
#: its first values on, and so are all five together: the steps are badly approximable by fractions (their continued
#: fractions repeat 1; 2; 1, 2; 3; and 2, 1, 3, 1, 2, 8). A sequence designed for several dimensions is not even in
#: each: the R4 sequence of Roberts 2018 begins with nearly 6/7.
_STEPS = ((5**0.5 - 1) / 2, 2**0.5 - 1, 3**0.5 - 1, (13**0.5 - 3) / 2, 19**0.5 - 4)
#: The context match of a further instance searches this share of its distance from another, in pixels at least the
#: second number.
_REACH_SHARE, _REACH_MIN_PX = 0.5, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A sample's pixels, labels and rendering decisions; without instances if nothing could be placed."""

    image: Picture
    mask: Mask
    instances: tuple[Instance, ...]
    background: int
    trace: Trace
    rejected: Counter[str]
    #: backgrounds (by number) that were skipped, and the reason
    passed_over: dict[int, str]
    #: each scheduled concept, as shown to users, and whether another was placed instead
    turns: tuple[tuple[str, bool], ...]


class Composer:
    """Composes samples from the learned models; keeps no state that depends on earlier samples."""

    def __init__(
        self,
        *,
        learned: LearnedByLabel,
        layouts: LayoutModel,
        backgrounds: Backgrounds,
        parameters: CompositeParameters,
        order: npt.NDArray[np.int64],
    ) -> None:
        self._labels = list(learned)
        self._layouts = layouts
        self._attempts = {
            label: PlacementAttempt(label, label_model, parameters) for label, label_model in learned.items()
        }
        self._backgrounds = backgrounds
        self._parameters = parameters
        self._order = order

    def compose(self, index: int, seed: int) -> Composed:
        """Return the sample of an index; it does not depend on earlier calls."""
        chance = np.random.default_rng(seed)
        rejected: Counter[str] = Counter()
        passed_over: dict[int, str] = {}
        composed: Composed | None = None
        layout = self._layout(index, chance)
        for attempt in range(min(_BACKGROUNDS, len(self._order))):
            hop = 0 if attempt == 0 else int(chance.integers(1, len(self._order)))
            background = int(self._order[(index + hop) % len(self._order)])
            last = attempt == min(_BACKGROUNDS, len(self._order)) - 1
            composed = self._compose_on(background, index, layout, chance, rejected, passed_over, anywhere=last)
            if composed.instances:
                return composed
            passed_over.setdefault(background, "nothing could be placed on it")
        assert composed is not None
        return composed

    def _layout(self, index: int, chance: np.random.Generator) -> Layout:
        """Return the layout of a sample; its labels take turns as the first."""
        p, label = self._parameters, self._labels[index % len(self._labels)]
        at = evenly(index).photo
        if p.counts_as_photographed:
            return self._layouts.draw(label, at, chance, p.instances_min, p.instances_max)
        count = int(chance.integers(p.instances_min, p.instances_max + 1))
        return self._layouts.draw(label, at, chance, count, count)

    def _compose_on(
        self,
        background: int,
        index: int,
        layout: Layout,
        chance: np.random.Generator,
        rejected: Counter[str],
        passed_over: dict[int, str],
        *,
        anywhere: bool,
    ) -> Composed:
        """Return the sample on one background; without instances if none can be placed."""
        picture = self._backgrounds.picture(background)
        height, width = picture.shape[:2]
        image, mask = picture.copy(), np.zeros((height, width), np.uint8)
        instances: list[Instance] = []
        traces: list[InstanceTrace] = []
        turns: list[tuple[str, bool]] = []
        for number, label in enumerate(layout.labels):
            area = self._backgrounds.area(background, label)
            inside, places = area.inside, area.places
            if not len(places):
                rejected["no area on this background"] += 1
                passed_over[background] = "the area learned from the canvases is empty on it"
                if not anywhere:
                    continue
                inside = np.ones_like(inside)
                places = np.arange(inside.size, dtype=np.uint16)
            canvas = PlacementCanvas(
                ref=self._backgrounds.ref(background),
                image=image,
                taken=mask,
                area=inside,
                places=places,
                # without an area, the backdrop is as good a place as any
                carrier=area.carrier if len(area.places) else None,
            )
            placement, draws = self._attempts[label], evenly(index + number * 7919)
            task = PlacementTask(
                near=_beside(canvas, instances, layout, chance),
                canvas=canvas,
                draws=draws,
                photo=self._followed(label, layout, chance),
                chance=chance,
                rejected=rejected,
            )
            placed = self._place_instance(placement, task)
            if placed is None:
                continue
            expected = placement.turn(draws, task.photo)
            turns.append((expected.in_words, placed.trace.concept != expected.choice))
            window = (
                slice(placed.top, placed.top + placed.mask.shape[0]),
                slice(placed.left, placed.left + placed.mask.shape[1]),
            )
            # the only statement that writes pixels: under the mask
            image[window][placed.mask] = from_tones(placed.tones, image[window])[placed.mask]
            mask[window][placed.mask] = len(instances) + 1
            box = tight_box(placed.mask)
            instances.append(
                Instance(
                    label=label,
                    box=Box(box.x + placed.left, box.y + placed.top, box.width, box.height),
                    outlines=outlines(placed.mask, (placed.left, placed.top)),
                )
            )
            traces.append(placed.trace)
        return Composed(
            image=image,
            mask=mask,
            instances=tuple(instances),
            background=background,
            trace=Trace(instances=tuple(traces), rejected=dict(rejected)),
            rejected=rejected,
            passed_over=passed_over,
            turns=tuple(turns),
        )

    def _followed(self, label: str, layout: Layout, chance: np.random.Generator) -> str | None:
        """Return the key of the photo that the scheduled concept is taken from; None for any."""
        follows = chance.random() < self._layouts.together[label]
        return layout.photo.key if follows and layout.photo.counts.get(label) else None

    def _place_instance(self, placement: PlacementAttempt, task: PlacementTask) -> PlacedInstance | None:
        """Return an instance that passes every check, else the most visible one of all attempts, else None."""
        best: PlacedInstance | None = None
        for attempt in range(TRIES):
            patient = attempt < TRIES * 3 // 4
            placed = placement.attempt(
                task,
                first=attempt == 0,
                faithful=attempt < _SCHEDULED_ATTEMPTS,
                patient=patient,
            )
            if placed is None:
                continue
            placed = replace(placed, trace=replace(placed.trace, tries=attempt + 1))
            if placed.contrast >= self._parameters.min_contrast:
                return placed
            task.rejected["cannot be seen"] += 1
            if best is None or placed.contrast > best.contrast:
                best = placed
        return best


def evenly(turn: int) -> QuasiRandomDraws:
    """The even numbers of a sample's instance: whichever run of turns is taken, each of them fills 0..1 evenly."""
    concept, size, blend, place, photo = ((turn * step + 0.5) % 1.0 for step in _STEPS)
    return QuasiRandomDraws(concept=concept, size=size, blend=blend, place=place, photo=photo)


def _beside(
    canvas: PlacementCanvas, instances: Sequence[Instance], layout: Layout, chance: np.random.Generator
) -> PlacementCanvas:
    """Return the canvas with those places that lie at a drawn distance from one of the instances.

    The distance is one of the photo that the layout follows. Without an instance or a distance, all places are kept.
    """
    if not instances or not len(layout.photo.distances):
        return canvas
    box = instances[int(chance.integers(len(instances)))].box
    distance = float(layout.photo.distances[int(chance.integers(len(layout.photo.distances)))])
    height, width = canvas.taken.shape
    shape = canvas.area.shape
    centre = ((box.y + box.height / 2) * shape[0] / height, (box.x + box.width / 2) * shape[1] / width)
    return replace(
        canvas,
        places=at_distance(canvas.places, shape, centre, distance * shape[1] / width),
        reach=max(_REACH_MIN_PX, round(_REACH_SHARE * distance)),
    )
