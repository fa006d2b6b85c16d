"""Parses command lines with the real ``datagen`` command, without running it."""

from __future__ import annotations

import shlex
from typing import Any

import typer
from typer.main import get_command

from datagen.cli import app


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the command in a command line, and its parameters.

    Raises:
        typer.BadParameter, or another of click's usage errors: the command does not accept the line.
    """
    program, *words = shlex.split(line)
    assert program == "datagen", line
    group: Any = get_command(app)
    name, command, rest = group.resolve_command(typer.Context(group), words)
    return name, command.make_context(name, rest).params
