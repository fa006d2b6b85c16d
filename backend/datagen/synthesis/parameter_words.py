"""The words for parameters in sentences for people. The parameters' names are for settings files and code."""

from __future__ import annotations

from collections.abc import Iterable

#: Words for the parameters of the composite engine. ``variety`` has none, because it only makes a round show other
#: samples.
_WORDS = {
    "size_factor": "size",
    "size_spread": "range of sizes",
    "direction_spread": "range of directions",
    "contrast": "contrast",
    "edge_softness": "softness of edges",
    "place_strictness": "strictness about the areas",
    "context_strictness": "strictness about the surroundings",
    "min_contrast": "least contrast to what it lies on",
    "counts_as_photographed": "whether there are as many in one image as in the photos",
    "instances_min": "fewest in one image",
    "instances_max": "most in one image",
    "concept_weights": "how often each concept is used",
    "blend_weights": "how often each blending is used",
    "shape_weights": "how often shapes are used that were not photographed",
    "matte_choices": "how concepts are cut out",
    "preference": "what the verdicts taught",
    "segmenter": "the segmentation model",
    "corrected_outlines": "outlines that were corrected on previews",
}
#: Parameters that have no visible effect.
_UNSAID = frozenset({"variety"})


def in_words(name: str) -> str:
    """Return a parameter in words. A parameter of another engine is returned as its quoted name."""
    return _WORDS.get(name, f"“{name}”")


def listed(names: Iterable[str]) -> str:
    """Return a list of parameters in words, such as "contrast, size"; empty if none of them has a visible effect."""
    return ", ".join(sorted(in_words(name) for name in names if name not in _UNSAID))
