"""Whether a refinement helped: the shares of good verdicts before and after it, with their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from datagen.domain.wording import counted

#: Quantile of the standard normal distribution for intervals of 90 %.
_Z = 1.6449


def wilson(good: int, count: int) -> tuple[float, float]:
    """Return the 90 % interval of a share (Wilson 1927); 0 and 1 without verdicts."""
    if not count:
        return 0.0, 1.0
    share, z2 = good / count, _Z**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdicts on the newest round of a version: how many, and how many of them are good."""

    version: int
    good: int
    count: int


def effect_in_words(child: Judged, parent: Judged) -> str:
    """Return a sentence that compares the share of good verdicts with the parent's; "" if one has no verdict.

    The shares differ if the 90 % interval of their difference (Newcombe 1998, from Wilson's) does not contain 0.
    """
    if not child.count or not parent.count:
        return ""
    share, before = child.good / child.count, parent.good / parent.count
    (low, high), (low_before, high_before) = wilson(child.good, child.count), wilson(parent.good, parent.count)
    least = share - before - math.hypot(share - low, high_before - before)
    most = share - before + math.hypot(high - share, before - low_before)
    if least > 0:
        conclusion = f"Version {child.version} is good more often than version {parent.version}"
    elif most < 0:
        conclusion = f"Version {child.version} is good less often than version {parent.version}"
    else:
        conclusion = (
            f"Whether version {child.version} is good more often than version {parent.version} is not known yet"
        )
    return (
        f"{conclusion}: {_percent(share)} of {counted(child.count, 'verdict')} (90 % interval {_percent(low)} to "
        f"{_percent(high)}), before it {_percent(before)} of {parent.count} ({_percent(low_before)} to "
        f"{_percent(high_before)})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
