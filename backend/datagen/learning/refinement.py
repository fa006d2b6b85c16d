"""Refinement of a spec's parameters by the verdicts on its preview round, which the spec's engine decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datagen.domain.spec import Json
from datagen.errors import EngineError
from datagen.synthesis.engine import Engine, Refinement, ReviewedSample


def refine_for(engine: Engine, parameters: Mapping[str, Json], reviewed: Sequence[ReviewedSample]) -> Refinement:
    """Return the parameters of the child spec of any engine, checked by the engine's own model.

    Args:
        engine: the engine of the judged spec.
        parameters: parameters of the judged spec.
        reviewed: reviewed samples of its round; may be empty.

    Raises:
        EngineError: the parameters, or those that the engine answered, are not the engine's.
    """
    refinement = engine.refine(parameters, reviewed)
    if engine.parameters_model is not None:
        try:
            engine.parameters_model.from_json(refinement.parameters)
        except EngineError as wrong:
            raise EngineError(
                f"the engine “{engine.name}” refined its parameters to what it does not take: {wrong}. Report it to "
                "the maker of its package, or build a preview"
            ) from wrong
    return refinement
