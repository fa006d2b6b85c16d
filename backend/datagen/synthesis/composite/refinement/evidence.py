"""The evidence of verdicts, and the parameters that a sample's instances used."""

from __future__ import annotations

from datagen.synthesis.composite.appearance.shape import NOT_PHOTOGRAPHED
from datagen.synthesis.engine import ReviewedSample

#: Verdicts that have to agree before a setting moves.
MIN_VERDICTS = 2


def used_names(sample: ReviewedSample, step: str) -> dict[str, str]:
    """Return the parameters that a sample's instances used at a step: key → name shown to users."""
    names: dict[str, str] = {}
    for instance in sample.trace.instances:
        if step == "concept" and instance.concept is not None:
            region = instance.concept.key.rpartition(":")[2]
            box = f", box {int(region) + 1}" if region.isdecimal() else ""
            names[instance.concept.key] = f"{instance.concept.name}{box}"
        elif step == "blend" and instance.blend is not None:
            names[instance.blend] = f"“{instance.blend}”"
        elif step == "shape" and (shape := instance.details.get("shape")) in NOT_PHOTOGRAPHED:
            names[str(shape)] = f"“{shape}”"
    return names
