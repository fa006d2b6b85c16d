"""The command that lists the installed engines and prints the parameters that one has."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from datagen.cli.console import AsJson, out, print_json, report_errors, safe
from datagen.entrypoints.bootstrap import engine_settings_of, settings


def engines(
    name: Annotated[str | None, typer.Argument(help="Show this engine alone.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of its parameters.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the installed engines, and whether each can render on this machine; or print one's parameters."""
    from datagen.synthesis.engine import engine_class, engine_names

    if schema and name is None:
        raise typer.BadParameter("--schema needs an engine's NAME; to list them: datagen engines")
    with report_errors():
        if schema:
            assert name is not None
            model = engine_class(name).parameters_model
            # an engine that declares no parameters accepts every one
            body = {"type": "object"} if model is None else model.model_json_schema()
            sys.stdout.write(json.dumps(body, indent=2, ensure_ascii=False) + "\n")
            return
        described = [_described(each) for each in ([name] if name is not None else engine_names())]
        if as_json:
            print_json({"engines": described})
            return
        for engine in described:
            version = f", version {engine['version']}, {engine['device']}" if engine["version"] else ""
            out.print(f"{safe(engine['name'] + version)}", highlight=False, soft_wrap=True)
            for line in engine["problems"] or ["can render on this machine"]:
                out.print(f"  {safe(line)}", highlight=False, soft_wrap=True)


def _described(name: str) -> Mapping[str, Any]:
    """Return an engine's name, version and device, and the problems that prevent rendering with the set parameters."""
    from datagen.errors import EngineError
    from datagen.synthesis.engine import engine_names, load_engine, sentence
    from datagen.workflow.parameter_routing import select_parameters

    try:
        engine = load_engine(name, engine_settings_of(settings()))
    except EngineError as broken:
        if name not in engine_names():
            raise
        return {"name": name, "version": None, "device": None, "problems": [sentence(str(broken))]}
    try:
        problems = list(engine.check(select_parameters(name, settings().engine_parameters)))
    except EngineError as wrong:
        problems = [sentence(str(wrong))]
    return {"name": name, "version": engine.version, "device": engine.device, "problems": problems}
