"""Refinement of a spec's parameters by the verdicts on its preview round. The spec's engine decides what changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datagen.domain.spec import Json
from datagen.errors import EngineError
from datagen.synthesis.engine import Engine, Refinement, ReviewedSample


def refine_for(engine: Engine, parameters: Mapping[str, Json], reviewed: Sequence[ReviewedSample]) -> Refinement:
    """Return the engine's refinement: the parameters of the child spec, and the changes as sentences.

    The refined parameters are checked by the engine's parameter model, if it has one.

    Args:
        engine: the engine of the judged spec.
        parameters: the parameters of the judged spec.
        reviewed: the reviewed samples of the spec's round; may be empty.

    Raises:
        EngineError: the engine does not accept the given parameters, or the parameters that it returned itself.
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
