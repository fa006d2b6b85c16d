"""The composite engine's parameters: their ranges, defaults and effects.

The parameters adjust what the engine learns from the inputs; ``refinement`` adjusts the parameters.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from datagen.synthesis.parameter_models import EngineParameters, NoFraction, Whole, ranges_of
from datagen.synthesis.preference import Preference

#: A weight of a concept or blend; 0 means never used.
_Weight = Annotated[float, Field(ge=0.0, le=100.0)]
_Choice = Annotated[int, Field(ge=0, le=100), NoFraction]
#: Limits of corrected outlines: concepts, and parts and corners of one concept's outline. They are part of every spec.
MAX_CORRECTED_CONCEPTS, MAX_OUTLINE_PARTS, MAX_OUTLINE_CORNERS = 256, 16, 200
#: A corner, x and y in pixels of the concept's photo.
_Corner = Annotated[list[float], Field(min_length=2, max_length=2)]
_Outline = Annotated[
    list[Annotated[list[_Corner], Field(min_length=3, max_length=MAX_OUTLINE_CORNERS)]],
    Field(min_length=1, max_length=MAX_OUTLINE_PARTS),
]


class CompositeParameters(EngineParameters):
    """Every parameter with its default; the defaults leave the learned values unchanged."""

    engine: ClassVar[str] = "composite"

    size_factor: float = Field(1.0, ge=0.2, le=5.0, description="multiplies the size of every concept")
    size_spread: float = Field(
        1.0,
        ge=0.0,
        le=3.0,
        description="multiplies the spread of the concepts' sizes; 0 keeps each concept's own size",
    )
    direction_spread: float = Field(
        1.0,
        ge=0.0,
        le=4.0,
        description="multiplies the spread of the concepts' directions; 0 keeps each as photographed",
    )
    contrast: float = Field(
        1.0, ge=0.2, le=4.0, description="multiplies the difference between the concept and its background"
    )
    edge_softness: float = Field(
        1.0,
        ge=0.0,
        le=8.0,
        description="width in pixels over which the concept fades into the background at the edge of its mask",
    )
    place_strictness: float = Field(
        0.5, ge=0.0, le=1.0, description="0 places wherever the area is possible, 1 only where it is certain"
    )
    context_strictness: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="0 ignores the surroundings, 1 places only where they look like those in the concept's photo",
    )
    min_contrast: float = Field(
        2.0,
        ge=0.0,
        le=20.0,
        description="minimum contrast-to-noise ratio in the mask; a placement with a lower one is rejected and retried",
    )
    counts_as_photographed: bool = Field(
        True,
        description="true: about as many instances in one image as in the concept photos, in which every one must be "
        "drawn; false: any number from “instances_min” to “instances_max”",
    )
    instances_min: Whole = Field(1, ge=1, le=100, description="fewest instances in one image")
    instances_max: Whole = Field(50, ge=1, le=100, description="most instances in one image")
    variety: Whole = Field(0, ge=0, le=2**31, description="changes every sample's seed and nothing else")
    concept_weights: dict[str, _Weight] = Field(
        {}, description="weight of a concept, by its key (“first 12 of the image's digest:region”); 1 by default"
    )
    blend_weights: dict[str, _Weight] = Field(
        {},
        description="weight of a blend, by its name; multiplies the weight learned from the concepts; 1 by default",
    )
    shape_weights: dict[str, _Weight] = Field(
        {},
        description="weight of a kind of shape, “bent”, “between” or “part”; multiplies the share learned from the "
        "concepts, 0 excludes it; 1 by default",
    )
    matte_choices: dict[str, _Choice] = Field(
        {}, description="matte used for a concept, by its key: 0 the best, 1 the second best, …; 0 by default"
    )
    corrected_outlines: dict[str, _Outline] = Field(
        {},
        max_length=MAX_CORRECTED_CONCEPTS,
        description="outline of a concept that was corrected on a preview, by its key: polygons, each a list of "
        "corners [x, y] in pixels of its photo; an outline drawn in Concepts takes precedence",
    )
    segmenter: str = Field(
        "",
        description="SAM or SAM 2 that proposes one more matte for each box: a hub id with a commit (“owner/name@” and "
        "40 digits) or a local folder; needs the extra `diffusion`. None by default",
    )

    preference: Preference | None = Field(
        None, description="what the verdicts taught, as *refine* wrote it; without it every draw is taken"
    )

    @model_validator(mode="after")
    def _most_is_not_below_fewest(self) -> Self:
        if self.instances_min > self.instances_max:
            raise ValueError(
                f"parameter “instances_min” ({self.instances_min}) is larger than “instances_max” "
                f"({self.instances_max}); raise the second or lower the first"
            )
        return self


#: Smallest and largest value of every numeric parameter, inclusive.
RANGES: dict[str, tuple[float, float]] = ranges_of(CompositeParameters)
#: Names of the parameters that only the drawing of samples reads. The fit may read all others.
DRAWING_PARAMETERS = (
    *("size_spread", "direction_spread", "contrast", "edge_softness", "context_strictness", "min_contrast", "variety"),
    *("concept_weights", "blend_weights", "shape_weights", "preference"),
)
#: The names of all parameters.
NAMES = tuple(CompositeParameters.model_fields)
