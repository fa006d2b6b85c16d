"""The composite engine's parameters: their ranges, defaults and effects.

Values are validated on input: an invalid one raises an error and is never replaced by a default. The parameters adjust
what the engine learns from the inputs; ``datagen.learning.parameter_refinement`` adjusts the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from datagen.domain.spec import Json
from datagen.errors import EngineError

#: Smallest and largest value of every numeric parameter, inclusive.
RANGES: dict[str, tuple[float, float]] = {
    "size_factor": (0.2, 5.0),
    "size_spread": (0.0, 3.0),
    "direction_spread": (0.0, 4.0),
    "contrast": (0.2, 4.0),
    "edge_softness": (0.0, 8.0),
    "place_strictness": (0.0, 1.0),
    "context_strictness": (0.0, 1.0),
    "min_contrast": (0.0, 20.0),
    "instances_min": (1, 20),
    "instances_max": (1, 20),
    "variety": (0, 2**31),
}
_WHOLE = frozenset({"instances_min", "instances_max", "variety"})
#: Range of the weights in ``concept_weights`` and ``blend_weights``; 0 means never used.
WEIGHT_RANGE = (0.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeParameters:
    """Every parameter with its default; the defaults leave the learned values unchanged."""

    #: multiplies the size of every concept
    size_factor: float = 1.0
    #: multiplies the spread of the concepts' sizes; 0 keeps each concept's own size
    size_spread: float = 1.0
    #: multiplies the spread of the concepts' directions; 0 keeps each as photographed
    direction_spread: float = 1.0
    #: multiplies the difference between the concept and its background
    contrast: float = 1.0
    #: width in pixels over which the concept fades into the background at the edge of its mask
    edge_softness: float = 1.0
    #: 0 places wherever the area is possible, 1 only where it is certain
    place_strictness: float = 0.5
    #: 0 ignores the surroundings, 1 places only where they look like those in the concept's photo
    context_strictness: float = 0.5
    #: minimum contrast-to-noise ratio in the mask; a placement with a lower one is rejected and retried
    min_contrast: float = 2.0
    #: fewest and most instances in one image
    instances_min: int = 1
    instances_max: int = 1
    #: changes every sample's seed and nothing else
    variety: int = 0
    #: weight of a concept, by its key ("<first 12 of the image's digest>:<region>"); 1 by default
    concept_weights: Mapping[str, float] = field(default_factory=dict)
    #: weight of a blend, by its name; multiplies the weight learned from the concepts; 1 by default
    blend_weights: Mapping[str, float] = field(default_factory=dict)
    #: index of the matte used for a concept, by its key: 0 the best, 1 the second best, …; 0 by default
    matte_choices: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def from_json(body: Mapping[str, Json]) -> CompositeParameters:
        """Build parameters from a spec; missing ones get their default.

        Raises:
            EngineError: a name is unknown, or a value has the wrong type or is out of range.
        """
        known = {f.name for f in fields(CompositeParameters)}
        if unknown := sorted(set(body) - known):
            raise EngineError(
                f"the composite engine has no parameter {unknown[0]!r}; there are: {', '.join(sorted(known))}"
            )
        values: dict[str, object] = {}
        for name, value in body.items():
            if name in RANGES:
                low, high = RANGES[name]
                number = _number(name, value, low, high)
                if name in _WHOLE and number != int(number):
                    raise EngineError(f"parameter {name!r} must be a whole number, not {value!r}")
                values[name] = int(number) if name in _WHOLE else number
            else:
                values[name] = _weights(name, value)
        parameters = CompositeParameters(**values)  # type: ignore[arg-type]
        if parameters.instances_min > parameters.instances_max:
            raise EngineError(
                f"parameter 'instances_min' ({parameters.instances_min}) is larger than 'instances_max' "
                f"({parameters.instances_max}); raise the second or lower the first"
            )
        return parameters

    def to_json(self) -> dict[str, Json]:
        """Return the mapping that ``from_json`` reads, with non-default values only, so that specs stay small."""
        defaults = CompositeParameters()
        return {k: v for k, v in asdict(self).items() if v != getattr(defaults, k)}


#: The names of all parameters.
NAMES = tuple(f.name for f in fields(CompositeParameters))


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise EngineError(f"parameter {name!r} must be a number from {low:g} to {high:g}, not {value!r}")
    if not low <= value <= high:
        raise EngineError(f"parameter {name!r} is {value:g}; it must be from {low:g} to {high:g}")
    return float(value)


def _weights(name: str, value: object) -> dict[str, float] | dict[str, int]:
    if not isinstance(value, Mapping):
        raise EngineError(f"parameter {name!r} must be a mapping from names to numbers, not {value!r}")
    low, high = WEIGHT_RANGE
    checked = {str(key): _number(f"{name}.{key}", weight, low, high) for key, weight in value.items()}
    if name != "matte_choices":
        return checked
    for key, choice in checked.items():
        if choice != int(choice):
            raise EngineError(f"parameter '{name}.{key}' must be a whole number, not {choice!r}")
    return {key: int(choice) for key, choice in checked.items()}
