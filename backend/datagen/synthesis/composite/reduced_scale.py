"""The reduced scale of areas, backdrops and lookalikes: the longest side of a picture has at most REDUCED_PX pixels."""

from __future__ import annotations

#: Largest length of a reduced picture's longest side, in pixels; a smaller picture is not reduced.
REDUCED_PX = 128


def reduced_shape(height: int, width: int) -> tuple[int, int]:
    """Return height and width of the reduced picture of a picture of ``height`` by ``width`` pixels."""
    shrink = min(1.0, REDUCED_PX / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))
