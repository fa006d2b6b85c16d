"""The hidden standard of the simulated annotator: objects above a certain size are too large, and all others good.

The product does not have the standard. It can only learn it from the verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Share of the first judged previews that meet the standard.
MET_AT_FIRST = 0.6


@dataclass(frozen=True, slots=True)
class Opinion:
    """The annotator's opinion of one preview. The reasons are choices of the review form."""

    good: bool
    reasons: tuple[str, ...] = ()
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Standard:
    """A preview is good if none of its objects is larger than ``largest``, in pixels along the diagonal."""

    largest: float

    def opinion_of(self, task: Mapping[str, Any]) -> Opinion:
        """Return the opinion of a review task, which depends on the outlines that the task shows alone."""
        if size_of(task) > self.largest:
            return Opinion(False, ("too large",), "larger than I would let pass")
        return Opinion(True, comment="like the real thing" if int(task["data"]["index"]) % 7 == 1 else "")


def standard_of(tasks: Sequence[Mapping[str, Any]]) -> Standard:
    """Return the standard that ``MET_AT_FIRST`` of the given review tasks meet."""
    sizes = sorted(size_of(task) for task in tasks)
    return Standard(sizes[max(math.floor(MET_AT_FIRST * len(sizes)), 1) - 1])


def size_of(task: Mapping[str, Any]) -> float:
    """Return the largest diagonal of the outlines that a review task shows, in pixels; 0 without outlines."""
    regions = [region for prediction in task["predictions"] for region in prediction["result"]]
    return max((_diagonal(region) for region in regions if region["type"] == "polygonlabels"), default=0.0)


def _diagonal(region: Mapping[str, Any]) -> float:
    xs, ys = zip(*region["value"]["points"], strict=True)  # percent of width and height
    across = (max(xs) - min(xs)) / 100 * region["original_width"]
    down = (max(ys) - min(ys)) / 100 * region["original_height"]
    return math.hypot(across, down)
