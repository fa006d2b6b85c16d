"""Parameters as they are given for all engines together: which of them an engine takes, and where its specs hold them.

``Engine.parameter_keys`` says it. Whether a value is right is the engine's ``check`` to say.
"""

from __future__ import annotations

from collections.abc import Mapping

from datagen.domain.spec import Json
from datagen.errors import EngineError
from datagen.synthesis.engine import engine_names, load_engine, needs_gpu

#: Where people give them.
SETTING = "DATAGEN_ENGINE_PARAMETERS"
#: Settings are read once a process.
RESTART = "restart “datagen up” and the workers after a change"


def select_parameters(engine: str, given: Mapping[str, Json]) -> dict[str, Json]:
    """What an engine takes of what is given, as its specs hold it. What is another engine's is left alone.

    Raises:
        EngineError: there is no such engine, or one of the names is no engine's.
    """
    takes = _takes(engine)
    if takes is None:
        return {engine: dict(given)} if given else {}
    if unknown := [name for name in given if not any(_knows(other, name) for other in engine_names())]:
        raise EngineError(
            f"{SETTING} names {unknown[0]!r}, which is no engine's parameter; those of {engine} are: "
            f"{', '.join(sorted(takes))}. Correct it, and {RESTART}."
        )
    found: dict[str, Json] = {name: given[name] for name, key in takes.items() if not key and name in given}
    for key in dict.fromkeys(filter(None, takes.values())):
        under = {name: given[name] for name, where in takes.items() if where == key and name in given}
        found |= {key: under} if under else {}
    return found


def keep_known_parameters(engine: str, parameters: Mapping[str, Json]) -> dict[str, Json]:
    """What an engine has a name for, of parameters as a spec holds them.

    Raises:
        EngineError: there is no such engine.
    """
    takes = _takes(engine)
    if takes is None:
        return dict(parameters)
    tops = {key or name for name, key in takes.items()}
    return {name: value for name, value in parameters.items() if name in tops}


def remedy(engine: str) -> tuple[str, ...]:
    """What ends every answer to “what stands in the way of a new version”: where parameters are set, and the way on."""
    keys = sorted({key for key in (_takes(engine) or {}).values() if key})
    what = f"What is named “{keys[0]}.…” is" if keys else "An engine's parameters are"
    where = f"{what} set in {SETTING}; {RESTART}."
    others = [name for name in engine_names() if name != engine and not needs_gpu(name)]
    if not others or not needs_gpu(engine):
        return (where,)
    return where, (
        f"Until then the study can go on with the engine “{others[0]}”: run “datagen provision NAME --engine "
        f"{others[0]}” with its name."
    )


def _takes(engine: str) -> Mapping[str, str] | None:
    """None for an engine that does not say it: it is given everything, under its name."""
    return load_engine(engine).parameter_keys


def _knows(engine: str, name: str) -> bool:
    takes = _takes(engine)
    return takes is None or name in takes
