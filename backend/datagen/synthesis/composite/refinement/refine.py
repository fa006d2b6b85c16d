"""Derives the next spec's parameters from the verdicts on a preview round.

The result is a pure function of the parameters and the judged samples. Every change comes with a sentence that names
the parameter, its old and new value, and the number of verdicts for it. A change needs a minimum of evidence, and a
sentence names the verdicts that do not reach it. Comments are for people and are not evaluated. Reasons on a good
preview are notes and not faults: they change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from datagen.domain.spec import Json
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.parameters import RANGES, CompositeParameters
from datagen.synthesis.composite.refinement.adjustments import ADJUSTMENTS, Tally, adjusted, too_few
from datagen.synthesis.composite.refinement.corrected_mattes import use_corrections, without_settled
from datagen.synthesis.composite.refinement.mattes import choose_next_mattes
from datagen.synthesis.composite.refinement.weights import reweigh
from datagen.synthesis.engine import Refinement, ReviewedSample

_NOTHING_JUDGED = (
    "No preview was judged before this refinement: the parameters stay as they were, and the new round shows new "
    "samples."
)


def refine(
    parameters: Mapping[str, Json], judged: Sequence[ReviewedSample], ignored: Collection[str] = frozenset()
) -> Refinement:
    """Return the parameters of the child spec.

    Args:
        parameters: parameters of the judged spec.
        judged: reviewed samples of its round; may be empty.
        ignored: names of parameters that the engine ignores; they stay unchanged, and a note says so.

    Raises:
        EngineError: ``parameters`` are not the composite engine's.
    """
    before = CompositeParameters.from_json(parameters)
    after = before.model_copy(update={"variety": (before.variety + 1) % int(RANGES["variety"][1])})
    after, outline_notes, corrected = use_corrections(after, judged)
    bad = [sample for sample in judged if sample.verdict.opinion is Opinion.BAD]
    if not judged:
        return Refinement(
            parameters=after.to_json(),
            notes=(_NOTHING_JUDGED,),
        )
    noted = [*outline_notes, *_noted_on_good(judged)]
    if not bad:
        after, notes = reweigh(after, judged)
        every = f"All {counted(len(judged), 'verdict')} are good" if len(judged) > 1 else "The one verdict is good"
        return Refinement(
            parameters=after.to_json(),
            notes=(f"{every}: the look stays as it was, and the new round shows new samples.", *notes, *noted),
        )
    tally = Tally(Counter(reason for sample in bad for reason in sample.verdict.reasons), len(judged))
    notes = []
    for adjustment in ADJUSTMENTS:
        after, new_notes = adjusted(after, adjustment, tally, ignored)
        notes += new_notes
    notes += too_few(tally)
    unsettled = without_settled(judged, corrected)
    after, new_notes = choose_next_mattes(after, unsettled)
    notes += new_notes
    after, new_notes = reweigh(after, unsettled)
    notes += new_notes
    if notes and after.model_copy(update={"variety": before.variety}) == before:
        notes.insert(0, "No setting changed, and the new round shows new samples.")
    if not notes and not outline_notes:
        notes.append(
            f"{len(bad)} of {counted(len(judged), 'verdict')} {by_number(len(bad), 'is', 'are')} bad, but without a "
            "reason that changes a setting: the next round shows new samples with the same settings. Choose what is "
            "wrong with each bad one, and the next refinement acts on it."
        )
    return Refinement(parameters=after.to_json(), notes=(*notes, *noted))


def _noted_on_good(judged: Sequence[ReviewedSample]) -> list[str]:
    """Return a sentence about reasons on good previews, if there are any."""
    count = sum(1 for sample in judged if sample.verdict.opinion is Opinion.GOOD and sample.verdict.reasons)
    if not count:
        return []
    return [
        f"What is ticked on {counted(count, 'good image')} changes nothing; to have it corrected, call the image bad."
    ]
