"""Audited acceptance: what share of a version's samples is acceptable, as a lower bound that holds with a confidence.

An audit is a number of further samples of a frozen version, fixed before the first of them is judged, that trained
nothing. Its bound is the exact one-sided bound of Clopper and Pearson (1934). A second audit of the same version is a
second chance to be lucky, so it has half the error probability of the first one, a third has half that of the second,
and the stated confidence is what remains after all of them (a union bound).

Spot checks during a run are looked at after each verdict. Their bound holds at every look: a mixture of likelihood
ratios over the shares of bad samples (Robbins, "Statistical methods related to the law of the iterated logarithm",
1970; Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024), which exceeds ``1 / e``
with a probability of at most ``e`` at any time, by Ville's inequality.

A threshold of the critic is chosen by ``critic.threshold_of`` from predictions alone, before any sample of the version
is judged. Given how many audit samples it keeps, the number of bad ones among them is binomial, so that the same bound
holds for the samples that it keeps. Several thresholds, or one that the verdicts chose, would need a correction
(Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test: calibrating predictive algorithms to achieve risk
control", 2021).

All of it is about what reviewers say: a reviewer who errs in a tenth of the verdicts makes every bound one of "good
verdicts", not of good samples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import betainc, betaincinv, betaln

from datagen.domain.wording import by_number, counted

#: Confidence of the promise of a version's first audit.
CONFIDENCE = 0.9
#: The share of acceptable samples that people usually want promised.
TARGET = 0.9
#: Confidence of the alarm of spot checks: a run that is as good as promised raises one with the remaining probability.
ALARM_CONFIDENCE = 0.95
#: Share of good verdicts on a preview round from which an audit is offered as the next step.
OFFERED_FROM = 0.8
#: Largest number of further verdicts that is worth naming.
_MOST_WORTH_NAMING = 2_000
#: Steps of a bisection; each halves the interval, so that the result is exact to 1e-12.
_HALVINGS = 40


def lower_bound(verdicts: int, bad: int, confidence: float = CONFIDENCE) -> float:
    """Return the exact lower bound of the acceptable share, 0 to 1.

    Args:
        verdicts: number of audited samples, fixed before the first of them was judged.
        bad: number of those that are not acceptable.
        confidence: probability with which the bound holds at least, between 0 and 1.

    Raises:
        ValueError: ``bad`` is negative or larger than ``verdicts``, or the confidence is not between 0 and 1.
    """
    _check(verdicts, bad, confidence)
    if bad == verdicts:
        return 0.0
    return float(betaincinv(verdicts - bad, bad + 1, 1 - confidence))


def further_good(
    verdicts: int, bad: int, target: float = TARGET, confidence: float = CONFIDENCE, most: int = _MOST_WORTH_NAMING
) -> int | None:
    """Return how many further samples, none of them bad, raise the lower bound to ``target``; None above ``most``.

    Raises:
        ValueError: as ``lower_bound``.
    """
    _check(verdicts, bad, confidence)
    if lower_bound(verdicts + most, bad, confidence) < target:
        return None
    low, high = -1, most  # the bound grows with each good verdict
    while high - low > 1:
        middle = (low + high) // 2
        if lower_bound(verdicts + middle, bad, confidence) >= target:
            high = middle
        else:
            low = middle
    return high


def error_of_audit(number: int, confidence: float = CONFIDENCE) -> float:
    """Return the error probability of a version's audit ``number``, counted from 1: half that of the audit before."""
    return (1 - confidence) * 0.5 ** (number - 1)


def confidence_after(audits: int, confidence: float = CONFIDENCE) -> float:
    """Return the confidence that remains for a version's promise after so many audits."""
    return 1 - sum(error_of_audit(number, confidence) for number in range(1, audits + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedAcceptance:
    """The audit verdicts on one frozen version, and what they promise."""

    #: number of audits, and of all their samples
    audits: int
    samples: int
    #: number of samples with a verdict, and of those that are judged good by everyone who judged them
    judged: int
    good: int
    #: number of samples with verdicts of which none counts, because they disagree
    disputed: int = 0

    @property
    def unjudged(self) -> int:
        """The number of samples without a verdict that counts, the disputed ones left out."""
        return self.samples - self.judged - self.disputed

    @property
    def bad(self) -> int:
        """The number of samples that are not acceptable: bad, disputed, not judged, or without their review task."""
        return self.samples - self.good

    @property
    def confidence(self) -> float:
        """The confidence of the promise."""
        return confidence_after(self.audits)

    @property
    def lower(self) -> float:
        """The promised share of acceptable samples, 0 to 1."""
        return lower_bound(self.samples, self.bad, 1 - error_of_audit(self.audits))

    @property
    def sentence(self) -> str:
        """The promise as a sentence."""
        of_audits = f" of {self.audits} audits" if self.audits > 1 else ""
        given = f"{self.judged} of " if self.judged < self.samples else ""
        not_counted = [(self.unjudged, "missing"), (self.disputed, "disputed")]
        parts = " and ".join(f"{number} {name}" for number, name in not_counted if number)
        missing = f", {parts} and counted as bad" if parts else ""
        return (
            f"At least {percent(self.lower)} acceptable, at {percent(self.confidence)} confidence: "
            f"{given}{counted(self.samples, 'audit verdict')}{of_audits}, {self.judged - self.good} bad{missing}."
        )

    @property
    def next_step(self) -> str:
        """Sentences on how to raise the promise to ``TARGET``; empty if it is reached."""
        waiting = []
        if left := self.unjudged:
            waiting.append(
                f"{counted(left, 'audit sample')} {by_number(left, 'waits', 'wait')} for a verdict; judge them first."
            )
        if left := self.disputed:
            waiting.append(
                f"On {counted(left, 'audit sample')} the verdicts disagree, so that none counts; settle them first."
            )
        if waiting:
            return " ".join(waiting)
        if self.lower >= TARGET:
            return ""
        after = self.audits + 1
        more = further_good(self.samples, self.bad, confidence=1 - error_of_audit(after))
        if more is None:
            return f"Further audits cannot make it {percent(TARGET)} in practice: refine instead."
        return (
            f"{counted(more, 'more sample')} with none bad would make it {percent(TARGET)}, at "
            f"{percent(confidence_after(after))} confidence, because a further audit is a second chance; or refine, "
            "and audit the new version. Approving without such a promise needs neither."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the promise as JSON values, to be stored with an approval."""
        return {**asdict(self), "lower": self.lower, "confidence": self.confidence, "sentence": self.sentence}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdAcceptance:
    """The promise of a version's audits for the samples that a threshold of its critic keeps.

    The threshold does not depend on a verdict on a sample of the version.
    """

    #: samples with a lower predicted probability are left out
    threshold: float
    #: number of audits, and of all their samples
    audits: int
    samples: int
    #: number of samples that the threshold keeps, and of those that are judged good by everyone who judged them
    kept: int
    good: int

    @property
    def confidence(self) -> float:
        """The confidence of the promise."""
        return confidence_after(self.audits)

    @property
    def lower(self) -> float:
        """The promised share of acceptable samples among those that are kept, 0 to 1."""
        if not self.kept:
            return 0.0
        return lower_bound(self.kept, self.kept - self.good, 1 - error_of_audit(self.audits))

    @property
    def sentence(self) -> str:
        """The promise as a sentence."""
        of_audits = f" of {self.audits} audits" if self.audits > 1 else ""
        drawn = counted(self.samples, "audit sample")
        if not self.kept:
            return (
                f"With the critic's threshold at {percent(self.threshold)}, none of {drawn}{of_audits} would be left."
            )
        return (
            f"With the critic's threshold at {percent(self.threshold)}, at least {percent(self.lower)} of what is left "
            f"would be acceptable, at {percent(self.confidence)} confidence: {self.kept} of {drawn}{of_audits} are "
            f"left, {self.kept - self.good} of them bad or without a verdict that counts."
        )


def offer(good: int, verdicts: int) -> str:
    """Return the sentences that offer an audit after a round with so many good verdicts; empty for few of them."""
    if not verdicts or good < OFFERED_FROM * verdicts:
        return ""
    needed = further_good(0, 0)
    return (
        f"{good} of {counted(verdicts, 'verdict')} on this round {by_number(good, 'is', 'are')} good. They promise "
        "nothing about a run, because “refine” may use them. To state what share of a run will be acceptable, choose "
        f"“audit”: {needed} further samples with none bad promise at least {percent(TARGET)}, at "
        f"{percent(CONFIDENCE)} confidence. Approving without a promise needs no audit."
    )


def evidence_below(share: float, verdicts: int, bad: int) -> float:
    """Return the evidence that fewer than ``share`` of the samples are acceptable, as a number that starts at 1.

    If at least ``share`` are acceptable, it exceeds ``1 / e`` at any time with a probability of at most ``e``. It is
    the likelihood ratio of the verdicts, averaged over all larger shares of bad samples.

    Args:
        share: the acceptable share that is questioned, 0 to 1.
        verdicts: number of verdicts so far.
        bad: number of bad ones among them.

    Raises:
        ValueError: ``bad`` is negative or larger than ``verdicts``, or ``share`` is not within 0 to 1.
    """
    _check(verdicts, bad, 0.5)
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}, and not within 0 to 1")
    bad_share, good = 1 - share, verdicts - bad
    if share == 0:
        return 1.0  # nothing is below it
    if bad_share == 0:
        return math.inf if bad else 1 / (verdicts + 1)
    above = 1 - float(betainc(bad + 1, good + 1, bad_share))
    if above <= 0:
        return 0.0
    average = float(betaln(bad + 1, good + 1)) + math.log(above) - math.log1p(-bad_share)
    return math.exp(min(average - bad * math.log(bad_share) - good * math.log(share), 700.0))


def upper_bound_at_any_look(verdicts: int, bad: int, confidence: float = ALARM_CONFIDENCE) -> float:
    """Return the upper bound of the acceptable share that holds at every look together, 0 to 1.

    Raises:
        ValueError: as ``lower_bound``.
    """
    _check(verdicts, bad, confidence)
    low, high = 0.0, 1.0
    if evidence_below(high, verdicts, bad) < 1 / (1 - confidence):
        return 1.0
    for _ in range(_HALVINGS):  # the evidence grows with the questioned share
        middle = (low + high) / 2
        if evidence_below(middle, verdicts, bad) < 1 / (1 - confidence):
            low = middle
        else:
            high = middle
    return high


def percent(share: float) -> str:
    """Return a share as whole percent, rounded down, so that no bound is stated larger than it is."""
    return f"{math.floor(share * 100 + 1e-9)} %"


def sentence_of(stated: Mapping[str, Any] | None) -> str:
    """Return the sentence of a promise that ``to_json`` stored; empty for None."""
    return str(stated["sentence"]) if stated is not None else ""


def _check(verdicts: int, bad: int, confidence: float) -> None:
    if not 0 <= bad <= verdicts:
        raise ValueError(f"{bad} of {verdicts} verdicts cannot be bad")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, and not between 0 and 1")
