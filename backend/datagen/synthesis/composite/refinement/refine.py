"""The changes by verdicts beside the draws: the choice of mattes, and outlines that reviewers corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datagen.domain.spec import Json
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.refinement.corrected_mattes import use_corrections, without_settled
from datagen.synthesis.composite.refinement.mattes import choose_next_mattes
from datagen.synthesis.engine import Refinement, ReviewedSample


def refine(parameters: Mapping[str, Json], judged: Sequence[ReviewedSample]) -> Refinement:
    """Return the parameters of the child spec, with other mattes for concepts whose labels are off.

    Args:
        parameters: parameters of the judged spec.
        judged: reviewed samples of its round; may be empty.

    Raises:
        EngineError: ``parameters`` are not the composite engine's.
    """
    after, outline_notes, corrected = use_corrections(CompositeParameters.from_json(parameters), judged)
    after, notes = choose_next_mattes(after, without_settled(judged, corrected))
    return Refinement(parameters=after.to_json(), notes=(*notes, *outline_notes))
