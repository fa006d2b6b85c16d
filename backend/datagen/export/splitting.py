"""Splits of a set that have no background and no concept in common.

Samples that share a background or a concept belong together, directly or through others, and so do a sample and a real
photo that its background or a concept is taken from. Such a group lies in one split as a whole: a model would otherwise
be validated on what it was trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from datagen.domain.sample import RealPhoto, Sample
from datagen.domain.trace import PHOTO_DIGITS
from datagen.domain.wording import counted
from datagen.errors import InputProblem

#: The splits, in the order of their shares.
NAMES = ("train", "val", "test")


class Apart(StrEnum):
    """The inputs that two splits may not share."""

    BOTH = "both"  #: backgrounds and concepts
    BACKGROUND = "background"
    CONCEPT = "concept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The split of every sample."""

    #: name → the number of samples, in the order of the shares
    counts: Mapping[str, int]
    #: returns a sample's split
    of: Callable[[Sample | RealPhoto], str]
    #: returns whether a sample was there when the splits were made; runs may add some meanwhile
    has: Callable[[Sample], bool]


def shares_of(percentages: str) -> dict[str, float]:
    """Read shares such as “80,20” or “70,15,15”: of train, val and test, in percent.

    Raises:
        InputProblem: there are not two or three positive numbers that make 100 together.
    """
    try:
        numbers = [float(word) for word in percentages.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not min(numbers) > 0 or not abs(sum(numbers) - 100) < 1e-6:
        raise InputProblem(
            f"“{percentages}” is no split: give the percentages of train and val, or of train, val and test, "
            "which make 100 together, for example 80,20"
        )
    return dict(zip(NAMES, (number / 100 for number in numbers), strict=False))


def split(
    samples: Iterable[Sample],
    shares: Mapping[str, float],
    apart: Apart = Apart.BOTH,
    photos: Sequence[RealPhoto] = (),
) -> Split:
    """Assign every sample and photo to a split; a group goes, the largest first, to the split that lacks most of them.

    Only backgrounds, concepts and the samples' indices are kept in memory. The same samples give the same splits.

    Raises:
        InputProblem: there are fewer groups than splits; the sentence names what joins the samples.
    """
    groups = _Groups()
    keys_of = partial(_keys, apart=apart, photos=frozenset(photo.photo.digest[:PHOTO_DIGITS] for photo in photos))
    sizes: Counter[str] = Counter()
    indices: dict[str, set[int]] = {}
    for sample in samples:
        indices.setdefault(sample.provenance.spec_digest, set()).add(sample.provenance.index)
        keys = keys_of(sample)
        groups.join(keys)
        sizes[keys[0]] += 1
    for photo in photos:
        keys = keys_of(photo)
        groups.join(keys)
        sizes[keys[0]] += 1
    totals: Counter[str] = Counter()
    for key, size in sizes.items():
        totals[groups.root(key)] += size
    if len(totals) < len(shares):
        joined = {Apart.BOTH: "backgrounds and concepts"}.get(apart, f"{apart}s")
        advice = (
            "split by one of the two: --apart background, or --apart concept" if apart is Apart.BOTH else "do not split"
        )
        raise InputProblem(
            f"the set cannot be split into {' and '.join(shares)} without common {joined}: its images form "
            f"{counted(len(totals), 'group')} that share them; {advice}"
        )
    # roots depend on the order of the samples; the smallest key of a group does not
    names: dict[str, str] = {}
    for key in sorted(sizes):
        names.setdefault(groups.root(key), key)
    whole = totals.total()
    counts = dict.fromkeys(shares, 0)
    placed: dict[str, str] = {}
    for root in sorted(totals, key=lambda root: (-totals[root], names[root])):
        empty = [name for name in shares if not counts[name]]
        # the last groups fill the splits that would stay empty
        choices = empty if len(totals) - len(placed) <= len(empty) else list(shares)
        name = max(choices, key=lambda name: shares[name] * whole - counts[name])
        placed[root] = name
        counts[name] += totals[root]
    return Split(
        counts=counts,
        of=lambda sample: placed[groups.root(keys_of(sample)[0])],
        has=lambda sample: sample.provenance.index in indices.get(sample.provenance.spec_digest, ()),
    )


def _keys(sample: Sample | RealPhoto, apart: Apart, photos: frozenset[str]) -> list[str]:
    """Return the keys of what a sample or photo may not share with another split; its own if there is none.

    ``photos`` are the first digits of the digests of the real photos. A sample whose engine does not record a concept
    may be made from any of them.
    """
    if isinstance(sample, RealPhoto):
        as_background, as_concept = f"background {sample.photo.digest}", f"photo {sample.photo.digest[:PHOTO_DIGITS]}"
        return {
            Apart.BACKGROUND: [as_background],
            Apart.CONCEPT: [as_concept],
            Apart.BOTH: [as_background, as_concept],
        }[apart]
    keys = []
    if apart is not Apart.CONCEPT:
        keys.append(f"background {sample.provenance.background.digest}")
    if apart is not Apart.BACKGROUND:
        concepts = [instance.concept for instance in sample.provenance.trace.instances]
        keys += [f"concept {concept.key}" for concept in concepts if concept is not None]
        digits = {concept.photo_digits if concept is not None else None for concept in concepts or (None,)}
        keys += [f"photo {photo}" for photo in sorted(photos if None in digits else photos & digits)]
    return keys or [f"sample {sample.provenance.file_stem}"]


class _Groups:
    """Disjoint sets of keys (union by root, with path halving)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, key: str) -> str:
        parent = self._parent
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    def join(self, keys: list[str]) -> None:
        first = self.root(keys[0])
        for key in keys[1:]:
            self._parent[self.root(key)] = first
