"""Errors in command lines and settings as sentences, and suggestions for command names that do not exist."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

#: Names that other programs give to a command → the command here.
_OTHER_NAMES = {
    **dict.fromkeys(("list", "ls", "ps", "show", "info", "studies", "study"), "status"),
    **dict.fromkeys(("create", "new", "init", "project"), "provision"),
    **dict.fromkeys(("import", "upload", "load"), "add"),
    **dict.fromkeys(("build", "build-preview", "round"), "preview"),
    **dict.fromkeys(("accept", "generate", "run"), "approve"),
    **dict.fromkeys(("download", "dataset", "zip"), "export"),
    **dict.fromkeys(("history", "log", "logs"), "audit"),
    **dict.fromkeys(("remove", "rm"), "delete"),
    **dict.fromkeys(("start", "serve"), "up"),
    **dict.fromkeys(("check", "diagnose"), "doctor"),
}
#: Smallest similarity between an unknown command name and a suggested one, 0 to 1.
_LEAST_SIMILARITY = 0.5


class Group(TyperGroup):
    """The group of all commands. For an unknown command it prints the commands with the most similar names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"suggest_commands": False})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command of a command line; an unknown one ends the program with a message."""
        unknown = args[0] if args and self.get_command(ctx, args[0]) is None else ""
        if unknown and not unknown.startswith("-") and not ctx.resilient_parsing:
            nearest = self.nearest(unknown)
            suggestion = f"did you mean {' or '.join(nearest)}?" if nearest else "they are listed by: datagen --help"
            ctx.fail(f"there is no command {unknown!r}; {suggestion}")
        return super().resolve_command(ctx, args)

    def nearest(self, unknown: str) -> list[str]:
        """Return at most three names of commands that an unknown name may mean, the likeliest first."""
        name = unknown.lower().replace("_", "-")
        if name in self.commands or name in _OTHER_NAMES:
            return [_OTHER_NAMES.get(name, name)]
        return get_close_matches(name, list(self.commands), cutoff=_LEAST_SIMILARITY)


class Command(TyperCommand):
    """A command whose message about a wrong argument is Datagen's own sentence, not pydantic's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            typer.BadParameter: an argument is wrong.
        """
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if isinstance(error.__cause__, ValidationError):
                error.message = f"{sentence_of(error.__cause__.errors()[0]).removesuffix('.')}."
            raise


def sentence_of(problem: ErrorDetails) -> str:
    """Return the problem with a value, as a clause.

    The clause repeats the value only if a number or a switch was expected, because any other value may be a secret.
    """
    value, details = problem["input"], problem.get("ctx", {})
    match problem["type"]:
        case "value_error":
            return str(details["error"])
        case "int_parsing" | "int_type" | "int_from_float" | "int_parsing_size":
            return f"{value!r} is not a whole number"
        case "float_parsing" | "float_type" | "finite_number":
            return f"{value!r} is not a number"
        case "bool_parsing" | "bool_type":
            return f"{value!r} is neither true nor false"
        case "greater_than_equal":
            return f"{value} is too small; the least is {details['ge']:,.10g}"
        case "less_than_equal":
            return f"{value} is too large; the most is {details['le']:,.10g}"
        case "greater_than":
            return f"{value} is too small; it has to be more than {details['gt']:,.10g}"
        case "less_than":
            return f"{value} is too large; it has to be less than {details['lt']:,.10g}"
        case _:
            return problem["msg"].replace("Input should", "it has to")
