"""Selection of an engine's parameters from the setting that holds the parameters of all engines.

``Engine.parameters_model`` defines which parameters an engine accepts. ``Engine.check`` validates their values.
"""

from __future__ import annotations

from collections.abc import Mapping

from datagen.domain.spec import Json
from datagen.errors import EngineError
from datagen.synthesis.engine import engine_class, engine_names, needs_gpu
from datagen.synthesis.parameter_models import groups_of

#: The setting that holds the parameters.
SETTING = "DATAGEN_ENGINE_PARAMETERS"
#: Advice after a change: settings are read once per process.
RESTART = "restart “datagen up” and the workers after a change"


def select_parameters(engine: str, given: Mapping[str, Json]) -> dict[str, Json]:
    """Return the given parameters that the engine accepts, in the form in which its specs hold them. Ignore the others.

    Raises:
        EngineError: there is no such engine, or no engine accepts one of the names.
    """
    groups = _groups(engine)
    if groups is None:
        return {engine: dict(given)} if given else {}
    if unknown := [name for name in given if not any(_accepts(other, name) for other in engine_names())]:
        raise EngineError(
            f"{SETTING} names {unknown[0]!r}, which is no engine's parameter; those of {engine} are: "
            f"{', '.join(sorted(groups))}. Correct it, and {RESTART}."
        )
    selected: dict[str, Json] = {name: given[name] for name, key in groups.items() if not key and name in given}
    for key in dict.fromkeys(filter(None, groups.values())):
        under = {name: given[name] for name, parent in groups.items() if parent == key and name in given}
        selected |= {key: under} if under else {}
    return selected


def keep_known_parameters(engine: str, parameters: Mapping[str, Json]) -> dict[str, Json]:
    """Return the spec parameters whose names the engine knows.

    Raises:
        EngineError: there is no such engine.
    """
    groups = _groups(engine)
    if groups is None:
        return dict(parameters)
    tops = {key or name for name, key in groups.items()}
    return {name: value for name, value in parameters.items() if name in tops}


def remedy(engine: str) -> tuple[str, ...]:
    """Return the last sentences of a message about wrong parameters: where to set them, and what to do instead."""
    groups = sorted({key for key in (_groups(engine) or {}).values() if key})
    subject = f"What is named “{groups[0]}.…” is" if groups else "An engine's parameters are"
    advice = f"{subject} set in {SETTING}; {RESTART}."
    others = [name for name in engine_names() if name != engine and not needs_gpu(name)]
    if not others or not needs_gpu(engine):
        return (advice,)
    return advice, (
        f"Until then the study can go on with the engine “{others[0]}”: run “datagen provision NAME --engine "
        f"{others[0]}” with its name."
    )


def _groups(engine: str) -> Mapping[str, str] | None:
    """Return parameter → group, for every parameter of an engine. The group is empty for a parameter without one.

    Return None if the engine accepts any parameter; its parameters then form one group with the engine's name.
    """
    model = engine_class(engine).parameters_model
    return None if model is None else groups_of(model)


def _accepts(engine: str, name: str) -> bool:
    groups = _groups(engine)
    return groups is None or name in groups
