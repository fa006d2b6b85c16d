"""Which images of a study are exported: conditions on runs, verdicts, labels, sizes, places and numbers of instances.

An image is chosen as a whole, with all its labels, if each of its instances meets the conditions on instances.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from datagen.domain.geometry import Box
from datagen.domain.sample import Instance, Sample
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.errors import InputProblem

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(px|%)")


class Place(StrEnum):
    """The ninth of an image, three by three, that the centre of an instance's box lies in."""

    TOP_LEFT = "top-left"
    TOP = "top"
    TOP_RIGHT = "top-right"
    LEFT = "left"
    CENTRE = "centre"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom-left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom-right"


class Judged(StrEnum):
    """The judgement of an image of a run by its spot check."""

    GOOD = "good"  #: every verdict that counts is good
    BAD = "bad"  #: a verdict that counts is bad
    UNJUDGED = "unjudged"  #: there is no verdict


#: Returns what people said of a sample.
Judgement = Callable[[Sample], Judged]


def judged(opinions: Iterable[Opinion]) -> Judged:
    """Return the common judgement of the verdicts on one sample."""
    given = set(opinions)
    if Opinion.BAD in given:
        return Judged.BAD
    return Judged.GOOD if given else Judged.UNJUDGED


def unjudged(_sample: Sample) -> Judged:
    """Return ``UNJUDGED``: the judgement where there are no verdicts."""
    return Judged.UNJUDGED


def place_of(box: Box, width: int, height: int) -> Place:
    """Return the place of a box in an image of ``width`` by ``height`` pixels."""
    column = min(max(int((box.x + box.width / 2) * 3 / width), 0), 2)
    row = min(max(int((box.y + box.height / 2) * 3 / height), 0), 2)
    return tuple(Place)[3 * row + column]


@dataclass(frozen=True, slots=True)
class Size:
    """A bound of an instance's size: of the longer side of its box in pixels, or of its box's share of the image."""

    value: float
    #: whether ``value`` is a percentage of the image's area, and not pixels
    is_share: bool = False

    @staticmethod
    def parse(text: str) -> Size:
        """Read a size such as “24px” or “0.5%”.

        Raises:
            InputProblem: it is neither.
        """
        match = _SIZE.fullmatch(text.strip().lower())
        if match is None or (match[2] == "%" and float(match[1]) > 100):
            raise InputProblem(
                f"“{text}” is no size: give the longer side of the box in pixels, for example 24px, "
                "or the box's share of the image, for example 0.5%"
            )
        return Size(float(match[1]), is_share=match[2] == "%")

    def of(self, box: Box, width: int, height: int) -> float:
        """Return the size of a box in the unit of this bound."""
        return 100 * box.area / (width * height) if self.is_share else max(box.width, box.height)

    def __str__(self) -> str:
        return f"{self.value:g} % of the image" if self.is_share else f"{self.value:g} px"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: its option, what a chosen image has, as a phrase behind “… of them have”, and the test."""

    option: str
    phrase: str
    holds: Callable[[Sample, Judged], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions that all have to hold; an empty tuple or None is no condition.

    Raises:
        InputProblem: a bound lies above the other, or is not positive.
    """

    #: numbers of runs
    runs: tuple[int, ...] = ()
    verdicts: tuple[Judged, ...] = ()
    labels: tuple[str, ...] = ()
    min_size: Size | None = None
    max_size: Size | None = None
    places: tuple[Place, ...] = ()
    min_instances: int | None = None
    max_instances: int | None = None
    #: indices of images that a person picked out, of one run; None is no condition
    indices: frozenset[int] | None = None

    def __post_init__(self) -> None:
        smallest, largest = self.min_size, self.max_size
        if smallest and largest and smallest.is_share == largest.is_share and smallest.value > largest.value:
            raise InputProblem(f"no object is at least {smallest} and at most {largest}; exchange the two sizes")
        fewest, most = self.min_instances, self.max_instances
        if fewest is not None and most is not None and fewest > most:
            raise InputProblem(f"no image has at least {fewest} and at most {most} objects; exchange the two numbers")

    def check(self, labels: Sequence[str]) -> None:
        """Check that the study has the selected labels.

        Raises:
            InputProblem: it lacks one.
        """
        for label in self.labels:
            if label not in labels:
                raise InputProblem(f"the study has no label {label!r}; there are: {', '.join(labels)}")

    def conditions(self) -> Iterator[Condition]:
        """Yield the conditions on single images."""
        if (indices := self.indices) is not None:
            phrase = f"been picked out among {counted(len(indices), 'image')}"
            yield Condition("--index", phrase, lambda s, _: s.provenance.index in indices)
        if self.verdicts:
            words = " or ".join(self.verdicts)
            yield Condition("--verdict", f"the verdict {words}", lambda _, judged: judged in self.verdicts)
        if self.labels:
            words = " or ".join(self.labels)
            yield Condition("--label", f"only objects of {words}", _each(lambda i, _: i.label in self.labels))
        if (smallest := self.min_size) is not None:
            yield Condition(
                "--min-size",
                f"only objects of {smallest} or more",
                _each(lambda i, size: smallest.of(i.box, *size) >= smallest.value),
            )
        if (largest := self.max_size) is not None:
            yield Condition(
                "--max-size",
                f"only objects of {largest} or less",
                _each(lambda i, size: largest.of(i.box, *size) <= largest.value),
            )
        if self.places:
            words = " or ".join(self.places)
            yield Condition(
                "--place", f"objects only at {words}", _each(lambda i, size: place_of(i.box, *size) in self.places)
            )
        if (fewest := self.min_instances) is not None:
            yield Condition(
                "--min-instances", f"{counted(fewest, 'object')} or more", lambda s, _: len(s.instances) >= fewest
            )
        if (most := self.max_instances) is not None:
            yield Condition(
                "--max-instances", f"{counted(most, 'object')} or less", lambda s, _: len(s.instances) <= most
            )

    def to_json(self) -> dict[str, Any]:
        """Return the conditions as JSON values, by option."""
        words: dict[str, Any] = {"run": list(self.runs)} if self.runs else {}
        return words | {condition.option.removeprefix("--"): condition.phrase for condition in self.conditions()}


def chosen(samples: Iterable[Sample], selection: Selection, judgement: Judgement = unjudged) -> Iterator[Sample]:
    """Yield the selected ones of ``samples``, in their order.

    Raises:
        InputProblem: it is none; the sentence says which condition leaves none.
    """
    conditions = tuple(selection.conditions())
    seen, left = 0, [0] * len(conditions)
    for sample in samples:
        seen += 1
        opinion = judgement(sample)
        for number, condition in enumerate(conditions):
            if not condition.holds(sample, opinion):
                break
            left[number] += 1
        else:
            yield sample
    if seen and 0 in left:
        raise InputProblem(_nothing_left(seen, conditions, left))


def _nothing_left(seen: int, conditions: Sequence[Condition], left: Sequence[int]) -> str:
    first = left.index(0)
    steps = [
        f"{count:,} {by_number(count, 'has', 'have')} {condition.phrase}"
        for count, condition in zip(left[:first], conditions[:first], strict=True)
    ]
    steps.append(f"none {'of these ' if first else ''}has {conditions[first].phrase}")
    option = conditions[first].option
    return (
        f"the selection leaves no image: of {counted(seen, 'image')}, {', '.join(steps)}; "
        f"change {option} or leave it out"
    )


def _each(holds: Callable[[Instance, tuple[int, int]], bool]) -> Callable[[Sample, Judged], bool]:
    """Return a test that a sample has instances, and each meets a condition on the instance and the image's size."""

    def test(sample: Sample, _judged: Judged) -> bool:
        size = (sample.image.width, sample.image.height)
        return bool(sample.instances) and all(holds(instance, size) for instance in sample.instances)

    return test
