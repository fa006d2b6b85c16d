"""Agreement of reviewers who judged the same samples: the share of equal opinions, and Cohen's kappa.

Both are exact fractions. Kappa compares the share with the one that two people would reach who give the same opinions
as often, but independently (Cohen 1960): 1 if they always agree, 0 if they agree as often as by chance, and negative
if they agree less often.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import TypeVar

#: Common samples from which a pair's agreement says anything: with fewer, one verdict moves kappa by .4 and more.
MIN_COMMON = 5
#: Reviewers that are compared, those with the most samples: the number of pairs grows with the square.
MAX_REVIEWERS = 20

Sample = TypeVar("Sample", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """The agreement of two reviewers on the samples that both judged."""

    first: str
    second: str
    #: number of samples that both judged, at least 1, and of those on which their opinions are equal
    common: int
    agreed: int
    #: None if it is undefined: both gave one opinion only, the same one
    kappa: Fraction | None

    @property
    def share(self) -> Fraction:
        """The share of common samples on which their opinions are equal."""
        return Fraction(self.agreed, self.common)

    @property
    def is_enough(self) -> bool:
        """Whether both judged at least ``MIN_COMMON`` samples; the figures of fewer say nothing."""
        return self.common >= MIN_COMMON


def pair_agreements(opinions: Mapping[str, Mapping[Sample, str]]) -> tuple[PairAgreement, ...]:
    """Return the agreement of every two reviewers with a common sample, the most common samples first.

    Args:
        opinions: for each reviewer, their opinion on each sample that they judged.
    """
    pairs = [
        _agreement(first, second, [(opinions[first][sample], opinions[second][sample]) for sample in common])
        for first, second in combinations(sorted(_most_active(opinions)), 2)
        if (common := opinions[first].keys() & opinions[second].keys())
    ]
    return tuple(sorted(pairs, key=lambda pair: (-pair.common, pair.first, pair.second)))


def _agreement(first: str, second: str, both: list[tuple[str, str]]) -> PairAgreement:
    common, agreed = len(both), sum(1 for opinion, other in both if opinion == other)
    of_first, of_second = Counter(opinion for opinion, _ in both), Counter(other for _, other in both)
    by_chance = Fraction(sum(count * of_second[opinion] for opinion, count in of_first.items()), common**2)
    kappa = None if by_chance == 1 else (Fraction(agreed, common) - by_chance) / (1 - by_chance)
    return PairAgreement(first=first, second=second, common=common, agreed=agreed, kappa=kappa)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSided:
    """A reviewer with one opinion on everything, though others have another one on some of it."""

    reviewer: str
    opinion: str
    #: number of samples that the reviewer judged, and of those on which another reviewer has another opinion
    samples: int
    contradicted: int


def one_sided(opinions: Mapping[str, Mapping[Sample, str]]) -> tuple[OneSided, ...]:
    """Return the reviewers with one opinion on ``MIN_COMMON`` samples or more, whom others contradict.

    Args:
        opinions: for each reviewer, their opinion on each sample that they judged.
    """
    reviewers = []
    for reviewer in _most_active(opinions):
        own = opinions[reviewer]
        if len(own) < MIN_COMMON or len(set(own.values())) > 1:
            continue
        others = [opinions[other] for other in _most_active(opinions) if other != reviewer]
        contradicted = sum(
            any(theirs.get(sample, opinion) != opinion for theirs in others) for sample, opinion in own.items()
        )
        if contradicted:
            [opinion] = set(own.values())
            reviewers.append(OneSided(reviewer=reviewer, opinion=opinion, samples=len(own), contradicted=contradicted))
    return tuple(reviewers)


def _most_active(opinions: Mapping[str, Mapping[Sample, str]]) -> list[str]:
    return sorted(opinions, key=lambda reviewer: (-len(opinions[reviewer]), reviewer))[:MAX_REVIEWERS]
