"""The choice of another matte for concepts whose labels are off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from datagen.domain.verdict import Opinion, Reason
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.refinement.evidence import MIN_VERDICTS, used_names
from datagen.synthesis.engine import ReviewedSample


def choose_next_mattes(
    p: CompositeParameters, judged: Sequence[ReviewedSample]
) -> tuple[CompositeParameters, list[str]]:
    """Choose the next matte for every concept whose label was off more often than its samples were good."""
    mask_off, good, names = Counter[str](), Counter[str](), dict[str, str]()
    for sample in judged:
        for key, name in used_names(sample, "concept").items():
            names[key] = name
            if sample.verdict.opinion is Opinion.GOOD:
                good[key] += 1
            elif Reason.MASK_OFF in sample.verdict.reasons:
                mask_off[key] += 1
    moved, notes = list[str](), list[str]()
    for key in sorted(mask_off):
        off = f"{counted(mask_off[key], 'verdict')} {by_number(mask_off[key], 'says', 'say')} “{Reason.MASK_OFF.value}”"
        evidence = f"{off} and {good[key]} {by_number(good[key], 'is', 'are')} good"
        remedy = "draw its outline in the project Concepts and build a preview."
        if mask_off[key] < MIN_VERDICTS:
            notes.append(
                f"Concept {names[key]} is cut out as before: {off}, and at least {MIN_VERDICTS} are needed. If its "
                f"label is off, {remedy}"
            )
        elif mask_off[key] <= good[key]:
            notes.append(f"Concept {names[key]} is cut out as before: {evidence}. If its label is off, {remedy}")
        else:
            moved.append(key)
            notes.append(
                f"Concept {names[key]} is cut out in another way, because {evidence}. If its label is still off in the "
                f"next round, {remedy}"
            )
    if not moved:
        return p, notes
    choices = {**p.matte_choices, **{key: p.matte_choices.get(key, 0) + 1 for key in moved}}
    return p.model_copy(update={"matte_choices": choices}), notes
