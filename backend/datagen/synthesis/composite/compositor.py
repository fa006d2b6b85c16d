"""Composition of one sample: its background, instances and labels, determined by the sample's index and seed.

Placement attempts are repeated until one passes, and the reasons of rejections are counted. Pixels are written in a
single statement, only under the mask, so that no other pixel can change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.domain.sample import Instance
from datagen.domain.trace import InstanceTrace, Trace
from datagen.synthesis.composite.backgrounds import Backgrounds
from datagen.synthesis.composite.instance_plan import (
    LearnedByLabel,
    PlacementCanvas,
    PlacementTask,
    PlanSource,
    QuasiRandomDraws,
)
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.layout import Layout, LayoutModel, at_distance
from datagen.synthesis.composite.placement_attempt import PlacedInstance, PlacementAttempt
from datagen.synthesis.composite.plan_choice import PlanChoice
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import Bools, Floats, from_tones
from datagen.synthesis.masks import outlines, tight_box

#: Attempts for one instance on one background; the requirements are lowered in the last quarter.
TRIES = 24
#: Attempts with the scheduled concept; later ones draw one at random, so that a difficult one cannot fail an image.
_SCHEDULED_ATTEMPTS = 5
#: Backgrounds tried for a sample if its own has no area or nothing can be placed on it.
_BACKGROUNDS = 4
#: Attempts that are rejected because a placed instance is less acceptable than it was planned.
_UNWANTED = 8
#: Backgrounds, and instances on each, from which the choice of plans computes its threshold.
_POOL_BACKGROUNDS, _POOL_INSTANCES = 8, 60
#: Steps of the quasi-random sequence (fractional parts of multiples). Each sequence is evenly distributed in 0..1 from
#: its first values on, and so are all five together: the steps are badly approximable by fractions (their continued
#: fractions repeat 1; 2; 1, 2; 3; and 2, 1, 3, 1, 2, 8). A sequence designed for several dimensions is not even in
#: each: the R4 sequence of Roberts 2018 begins with nearly 6/7.
_STEPS = ((5**0.5 - 1) / 2, 2**0.5 - 1, 3**0.5 - 1, (13**0.5 - 3) / 2, 19**0.5 - 4)
#: Phases of the sequences that begin in the middle.
_CENTRED = (0.5,) * len(_STEPS)
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
    #: each scheduled concept, as shown to users, and whether another was placed instead; empty with a preference
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
        seed: int,
    ) -> None:
        """Create a composer.

        Args:
            learned: the fitted models of each label.
            layouts: the distribution of layouts.
            backgrounds: the backgrounds.
            parameters: the engine's parameters.
            order: the numbers of the backgrounds, in the order of the samples.
            seed: the spec's seed; it shifts the even sequences, so that versions do not repeat each other's concepts
                and sizes.
        """
        self._labels = list(learned)
        self._layouts = layouts
        self._attempts = {label: PlacementAttempt(label_model, parameters) for label, label_model in learned.items()}
        self._sources = {label: PlanSource(label_model, parameters) for label, label_model in learned.items()}
        self._backgrounds = backgrounds
        self._parameters = parameters
        self._order = order
        self._phases = np.random.default_rng(seed).random(len(_STEPS))
        self._choices: dict[str, PlanChoice] = {}

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
        at = evenly(index, self._phases).photo
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
                depth=_depth(inside),
            )
            draws = evenly(index + number * 7919, self._phases)
            task = PlacementTask(
                near=_beside(canvas, instances, layout, chance),
                canvas=canvas,
                draws=draws,
                photo=self._followed(label, layout, chance),
                chance=chance,
                rejected=rejected,
            )
            placed = self._place_instance(label, task)
            if placed is None:
                continue
            if self._parameters.preference is None:  # a preference chooses among the concepts, and keeps no schedule
                expected = self._sources[label].turn(draws, task.photo)
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

    def _place_instance(self, label: str, task: PlacementTask) -> PlacedInstance | None:
        """Return an instance that passes every check, else the best one of all attempts, else None.

        A visible instance is better than one that is not; of visible ones, the most acceptable is the best, and of the
        others the most visible.
        """
        placement, choice = self._attempts[label], self._choice(label)
        best: tuple[tuple[bool, float], PlacedInstance] | None = None
        unwanted = 0
        for attempt in range(TRIES):
            patient, faithful = attempt < TRIES * 3 // 4, attempt < _SCHEDULED_ATTEMPTS
            chosen = choice.choose(task, task.target(patient=patient), scheduled=attempt == 0, faithful=faithful)
            if not chosen.is_accepted and task.near is not task.canvas:
                # what reviewers accept matters more than the distance to another instance
                task = replace(task, near=task.canvas)
                chosen = choice.choose(task, task.canvas, scheduled=attempt == 0, faithful=faithful)
            placed = placement.attempt(task, chosen.plan, faithful=faithful, patient=patient)
            if placed is None:
                continue
            placed = replace(placed, trace=replace(placed.trace, tries=attempt + 1))
            is_visible = placed.contrast >= self._parameters.min_contrast
            acceptance = choice.acceptance(placed.trace.draws)
            if is_visible and acceptance >= chosen.at and chosen.is_accepted:
                return placed
            rank = (is_visible, acceptance if is_visible else placed.contrast)
            if best is None or rank > best[0]:
                best = rank, placed
            if is_visible and (unwanted >= _UNWANTED or not patient):
                return best[1]
            task.rejected["unlike what the verdicts accept" if is_visible else "cannot be seen"] += 1
            unwanted += is_visible
        return None if best is None else best[1]

    def _choice(self, label: str) -> PlanChoice:
        """Return the choice of plans for a label."""
        if label not in self._choices:
            preference = self._parameters.preference
            pool = [] if preference is None else self._pool(label)
            self._choices[label] = PlanChoice(self._sources[label], preference, pool)
        return self._choices[label]

    def _pool(self, label: str) -> list[PlacementTask]:
        """Return instances on the first backgrounds, without a place."""
        chance = np.random.default_rng(0)
        pool = []
        for background in self._order[:_POOL_BACKGROUNDS].tolist():
            area, picture = self._backgrounds.area(background, label), self._backgrounds.picture(background)
            if not len(area.places):
                continue
            canvas = PlacementCanvas(
                ref=self._backgrounds.ref(background),
                image=picture,
                taken=np.zeros(picture.shape[:2], np.uint8),
                area=area.inside,
                places=area.places,
                depth=_depth(area.inside),
                carrier=area.carrier,
            )
            for turn in range(_POOL_INSTANCES):
                task = PlacementTask(
                    near=canvas,
                    canvas=canvas,
                    draws=evenly(turn, self._phases),
                    photo=None,
                    chance=chance,
                    rejected=Counter(),
                )
                pool.append(task)
        return pool


def evenly(turn: int, phases: Sequence[float] | npt.NDArray[np.float64] = _CENTRED) -> QuasiRandomDraws:
    """The even numbers of a sample's instance: whichever run of turns is taken, each of them fills 0..1 evenly.

    Args:
        turn: the turn.
        phases: the numbers of turn 0.
    """
    concept, size, blend, place, photo = (
        float((turn * step + phase) % 1.0) for step, phase in zip(_STEPS, phases, strict=True)
    )
    return QuasiRandomDraws(concept=concept, size=size, blend=blend, place=place, photo=photo)


def _depth(area: Bools) -> Floats:
    """Return the distance [h, w] of an area's pixels to its rim or the picture's border; 1 is the shorter side."""
    inside = cv2.copyMakeBorder(area.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
    return np.asarray(distance / np.float32(min(area.shape)), np.float32)


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
