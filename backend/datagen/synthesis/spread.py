"""How a measure of the few concepts, such as their size, is varied: as much as those seen vary, and no further.

A smoothed bootstrap with shrinkage (Silverman and Young 1987): each value is moved by the kernel-density bandwidth, and
drawn towards the mean by so much that the values made vary as those seen do. Without that the largest grow larger and
the darkest darker than any that was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Noise beyond this many bandwidths is cut.
_FARTHEST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and deviation of the values seen (of logarithms, usually), and the bandwidth they are moved by."""

    mean: float
    deviation: float
    bandwidth: float

    def move(self, own: float, noise: float, times: float = 1.0) -> float:
        """By how much a value is moved.

        Args:
            own: the value as it was seen.
            noise: of deviation 1.
            times: multiplies the bandwidth; 0 leaves the value as it is.
        """
        width = self.bandwidth * times
        # bandwidths have a least size: values that hardly vary are not drawn anywhere
        shrink = (1 + (width / self.deviation) ** 2) ** -0.5 if self.deviation > self.bandwidth else 1.0
        noise = min(max(noise, -_FARTHEST), _FARTHEST)
        return self.mean + (own - self.mean + width * noise) * shrink - own


def spread_of(seen: Sequence[float], alone: float, within: tuple[float, float]) -> Spread:
    """The spread of at least one value; the bandwidth by Silverman's rule of thumb.

    Args:
        seen: the values, one an exemplar.
        alone: the bandwidth where there is but one value.
        within: the smallest and largest bandwidth.
    """
    mean = float(np.mean(seen))
    if len(seen) < 2:
        return Spread(mean=mean, deviation=0.0, bandwidth=alone)
    deviation = float(np.std(seen, ddof=1))
    bandwidth = float(np.clip(deviation * len(seen) ** -0.2, *within))
    return Spread(mean=mean, deviation=deviation, bandwidth=bandwidth)
