"""The draws of the composite engine that verdicts teach, and those of an instance."""

from __future__ import annotations

from datagen.domain.verdict import Reason
from datagen.synthesis.learnable import LearnableDraw

#: Draws that decide about pixels and not about places.
ABOUT_PIXELS = frozenset({"contrast", "measured_contrast", "softness", "blend"})
LEARNABLE = (
    LearnableDraw(
        name="size",
        words="size",
        unit="× the usual size of the concepts",
        scale="log",
        spread=0.3,
        reasons={Reason.TOO_SMALL: 1, Reason.TOO_LARGE: -1},
    ),
    LearnableDraw(
        name="scale",
        words="enlargement",
        unit="× as photographed",
        scale="log",
        spread=0.2,
        reasons={Reason.TOO_SMALL: 1, Reason.TOO_LARGE: -1},
    ),
    LearnableDraw(
        name="contrast",
        words="contrast",
        unit="× as photographed",
        scale="log",
        spread=0.15,
        reasons={Reason.INVISIBLE: 1, Reason.TOO_STRONG: -1},
    ),
    LearnableDraw(
        name="measured_contrast",
        words="contrast to what it lies on",
        unit="× the noise",
        scale="log",
        spread=0.5,
        reasons={Reason.INVISIBLE: 1, Reason.TOO_STRONG: -1},
        follows="contrast",
    ),
    LearnableDraw(
        name="softness",
        words="softness of edges",
        unit="px",
        scale="log",
        spread=0.35,
        reasons={Reason.EDGES_SHOW: 1},
    ),
    LearnableDraw(name="x", words="place from left to right", unit="of the width", spread=0.25),
    LearnableDraw(name="y", words="place from top to bottom", unit="of the height", spread=0.25),
    LearnableDraw(
        name="rim_distance", words="distance to the area's edge", unit="of the picture's shorter side", spread=0.08
    ),
    LearnableDraw(name="angle", words="direction", unit="°", scale="circular"),
    LearnableDraw(
        name="mismatch",
        words="difference to the surroundings in the photo",
        unit="tones",
        spread=6.0,
    ),
    LearnableDraw(name="concept", words="concept", scale="category"),
    LearnableDraw(name="matte", words="way of cutting out", scale="category"),
    LearnableDraw(name="blend", words="blending", scale="category"),
    LearnableDraw(name="shape", words="kind of shape", scale="category"),
)
