"""One sample: its background, its instances, its labels; decided by the sample's own index and seed.

Tries are made until one passes; why tries were turned down is counted. The image is written in one place only, under
the mask, so that nothing else can change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.domain.sample import Instance
from datagen.domain.spec import Json
from datagen.synthesis.composite.backgrounds import Backgrounds
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement_attempt import (
    LearnedByLabel,
    PlacedInstance,
    PlacementAttempt,
    PlacementCanvas,
    QuasiRandomDraws,
)
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import from_tones
from datagen.synthesis.masks import outlines, tight_box

#: Tries for one instance on one background; in the last quarter the demands are lowered.
TRIES = 24
#: Tries made with the concept whose turn it is; later ones draw another, so that a fussy one cannot spoil an image.
_FAITHFUL = 5
#: Backgrounds tried for a sample whose own has no area, or on which nothing can be laid.
_BACKGROUNDS = 4
#: Multiples of these, less whole numbers, fill 0..1 evenly from the first few on, each by itself and all together: they
#: are the numbers that fractions come least close to (continued fractions of 1s, 2s, 1s and 2s, and 3s). A sequence
#: that is even in four dimensions alone is not: the R4 of Roberts 2018 begins with nearly 6/7.
_STEPS = ((5**0.5 - 1) / 2, 2**0.5 - 1, 3**0.5 - 1, (13**0.5 - 3) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A sample's pixels and labels, and what was decided on the way; no instances where nothing could be laid."""

    image: Picture
    mask: Mask
    instances: tuple[Instance, ...]
    background: int
    steps: dict[str, Json]
    rejected: Counter[str]
    #: backgrounds (by number) that were passed over, and why
    passed_over: dict[int, str]
    #: of each concept whose turn it was, in words, whether another was laid in its stead
    turns: tuple[tuple[str, bool], ...]


class Composer:
    """Makes samples from what was learned; holds nothing that depends on which samples it made before."""

    def __init__(
        self,
        *,
        learned: LearnedByLabel,
        backgrounds: Backgrounds,
        parameters: CompositeParameters,
        order: npt.NDArray[np.int64],
    ) -> None:
        self._labels = list(learned)
        self._trials = {label: PlacementAttempt(label, one, parameters) for label, one in learned.items()}
        self._backgrounds = backgrounds
        self._parameters = parameters
        self._order = order

    def compose(self, index: int, seed: int) -> Composed:
        """The sample of an index; the same whatever was composed before."""
        chance = np.random.default_rng(seed)
        rejected: Counter[str] = Counter()
        passed_over: dict[int, str] = {}
        made: Composed | None = None
        for attempt in range(min(_BACKGROUNDS, len(self._order))):
            hop = 0 if attempt == 0 else int(chance.integers(1, len(self._order)))
            background = int(self._order[(index + hop) % len(self._order)])
            last = attempt == min(_BACKGROUNDS, len(self._order)) - 1
            made = self._on(background, index, chance, rejected, passed_over, anywhere=last)
            if made.instances:
                return made
            passed_over.setdefault(background, "nothing could be placed on it")
        assert made is not None
        return made

    def _on(
        self,
        background: int,
        index: int,
        chance: np.random.Generator,
        rejected: Counter[str],
        passed_over: dict[int, str],
        *,
        anywhere: bool,
    ) -> Composed:
        """The sample on one background; without instances where none can be laid."""
        picture = self._backgrounds.picture(background)
        height, width = picture.shape[:2]
        image, mask = picture.copy(), np.zeros((height, width), np.uint8)
        wanted = int(chance.integers(self._parameters.instances_min, self._parameters.instances_max + 1))
        instances: list[Instance] = []
        steps: list[Json] = []
        turns: list[tuple[str, bool]] = []
        for number in range(wanted):
            label = self._labels[(index + number) % len(self._labels)]
            area = self._backgrounds.area(background, label)
            inside, places = area.inside, area.places
            if not len(places):
                rejected["no area on this background"] += 1
                passed_over[background] = "the area learned from the canvases is empty on it"
                if not anywhere:
                    continue
                inside = np.ones_like(inside)
                places = np.arange(inside.size, dtype=np.uint16)
            ground = PlacementCanvas(
                ref=self._backgrounds.ref(background),
                image=image,
                taken=mask,
                area=inside,
                places=places,
            )
            trial, even = self._trials[label], evenly(index + number * 7919)
            laid = self._lay(trial, ground, even, chance, rejected)
            if laid is None:
                continue
            expected = trial.turn(even)
            turns.append((expected.in_words, laid.steps["concept"] != expected.key))
            window = (
                slice(laid.top, laid.top + laid.mask.shape[0]),
                slice(laid.left, laid.left + laid.mask.shape[1]),
            )
            # the one place where pixels are written: under the mask
            image[window][laid.mask] = from_tones(laid.tones, image[window])[laid.mask]
            mask[window][laid.mask] = len(instances) + 1
            box = tight_box(laid.mask)
            instances.append(
                Instance(
                    label=label,
                    box=Box(box.x + laid.left, box.y + laid.top, box.width, box.height),
                    outlines=outlines(laid.mask, (laid.left, laid.top)),
                )
            )
            steps.append(dict(laid.steps))
        return Composed(
            image=image,
            mask=mask,
            instances=tuple(instances),
            background=background,
            steps={"instances": steps, "rejected": dict(rejected)},
            rejected=rejected,
            passed_over=passed_over,
            turns=tuple(turns),
        )

    def _lay(
        self,
        trial: PlacementAttempt,
        ground: PlacementCanvas,
        even: QuasiRandomDraws,
        chance: np.random.Generator,
        rejected: Counter[str],
    ) -> PlacedInstance | None:
        """An instance that passes every check, else the most visible of those tried, else None."""
        best: PlacedInstance | None = None
        for attempt in range(TRIES):
            laid = trial.attempt(
                ground,
                even,
                chance,
                rejected,
                first=attempt == 0,
                faithful=attempt < _FAITHFUL,
                patient=attempt < TRIES * 3 // 4,
            )
            if laid is None:
                continue
            laid.steps["tries"] = attempt + 1
            if laid.contrast >= self._parameters.min_contrast:
                return laid
            rejected["cannot be seen"] += 1
            if best is None or laid.contrast > best.contrast:
                best = laid
        return best


def evenly(turn: int) -> QuasiRandomDraws:
    """The even numbers of a sample's instance: whichever run of turns is taken, each of them fills 0..1 evenly."""
    concept, size, blend, place = ((turn * step + 0.5) % 1.0 for step in _STEPS)
    return QuasiRandomDraws(concept=concept, size=size, blend=blend, place=place)
