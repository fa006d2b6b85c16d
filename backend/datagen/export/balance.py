"""A subset of a set in which no class of objects has more instances than the rarest one.

A class is a combination of label, size and place. Images stay whole, so the rarest classes may lose instances too where
they are in images with others. The samples alone decide, by their seeds: the same samples give the same subset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from datagen.domain.geometry import Box
from datagen.domain.sample import Sample
from datagen.domain.wording import by_number, counted
from datagen.errors import InputProblem
from datagen.export.selection import place_of

#: Largest number of classes that a sentence names.
_MAX_NAMED = 12
#: Upper bounds of COCO's small and medium objects, for the longer side of a box in pixels.
_SMALL_PX, _MEDIUM_PX = 32, 96


class Dimension(StrEnum):
    """A property by which the objects are divided into classes."""

    LABEL = "label"
    SIZE = "size"
    PLACE = "place"


def size_class(box: Box) -> str:
    """Return the class of a box by its longer side: small (less than 32 pixels), medium (less than 96) or large."""
    side = max(box.width, box.height)
    return "small" if side < _SMALL_PX else "medium" if side < _MEDIUM_PX else "large"


def dimensions(words: str) -> tuple[Dimension, ...]:
    """Read dimensions such as “label,size”.

    Raises:
        InputProblem: one is unknown, or repeated.
    """
    names = [word.strip() for word in words.split(",")]
    known = [dimension.value for dimension in Dimension]
    if len(set(names)) < len(names) or not set(names) <= set(known):
        raise InputProblem(f"“{words}” cannot be balanced; give one or more of {', '.join(known)}, each once")
    return tuple(dimension for dimension in Dimension if dimension in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """The subset."""

    #: spec digest → indices of the samples in it
    indices: dict[str, set[int]]
    #: class → the numbers of its instances in the set, and in the subset
    counts: dict[str, tuple[int, int]]
    #: numbers of images in the set, and in the subset
    images: tuple[int, int]

    def has(self, sample: Sample) -> bool:
        """Return whether a sample is in the subset."""
        return sample.provenance.index in self.indices.get(sample.provenance.spec_digest, ())

    def note(self) -> str:
        """Return a sentence on what was left out."""
        before, after = self.images
        classes = [f"{name} {now:,} of {once:,}" for name, (once, now) in self.counts.items()]
        more = f" and {len(classes) - _MAX_NAMED} more classes" if len(classes) > _MAX_NAMED else ""
        left_out = counted(before - after, "image")
        return (
            f"balanced: {left_out} of {before:,} {by_number(before - after, 'is', 'are')} left out; "
            f"objects: {', '.join(classes[:_MAX_NAMED])}{more}"
        )


def balanced(samples: Iterable[Sample], by: Sequence[Dimension]) -> Balanced:
    """Return a balanced subset. For each sample a few numbers are kept in memory.

    Images with the rarest classes are taken first. An image is left out if it would give a class more instances than
    the rarest class has in the whole set. Images without instances are all kept.
    """
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    entries: list[tuple[int, str, int, tuple[str, ...]]] = []
    totals: Counter[str] = Counter()
    for sample in samples:
        classes = tuple(sorted(_class_of(sample, i, by) for i in range(len(sample.instances))))
        classes = known.setdefault(classes, classes)  # one tuple for all samples with these classes
        totals.update(classes)
        entries.append((sample.provenance.seed, sample.provenance.spec_digest, sample.provenance.index, classes))
    most = min(totals.values(), default=0)
    entries.sort(key=lambda entry: (min((totals[name] for name in entry[3]), default=0), entry[0], entry[1], entry[2]))
    taken: Counter[str] = Counter()
    indices: dict[str, set[int]] = {}
    for _, digest, index, classes in entries:
        if all(taken[name] + classes.count(name) <= most for name in set(classes)):
            taken.update(classes)
            indices.setdefault(digest, set()).add(index)
    return Balanced(
        indices=indices,
        counts={name: (totals[name], taken[name]) for name in sorted(totals)},
        images=(len(entries), sum(map(len, indices.values()))),
    )


def _class_of(sample: Sample, number: int, by: Sequence[Dimension]) -> str:
    instance = sample.instances[number]
    words = {
        Dimension.LABEL: instance.label,
        Dimension.SIZE: size_class(instance.box),
        Dimension.PLACE: place_of(instance.box, sample.image.width, sample.image.height).value,
    }
    return " ".join(words[dimension] for dimension in by)
