"""Functions that several commands use: terminal output, the report of errors, and the types of parameters."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from datagen.cli.usage import sentence_of
from datagen.entrypoints.bootstrap import settings
from datagen.errors import DatagenError

out, err = Console(), Console(stderr=True)

Study = Annotated[str, typer.Argument(help="The study's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]

#: Control character of a terminal → its escape; ends of lines are not escaped.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\n")}


def safe(text: str) -> str:
    """Return untrusted text without effect on the terminal: rich's markup and control characters are escaped."""
    return escape(text.translate(_CONTROLS))


def show(text: str) -> None:
    """Print untrusted text verbatim; the terminal wraps long lines."""
    out.print(safe(text), highlight=False, soft_wrap=True)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; if the terminal is too narrow for it, print each row as a block of lines.

    Args:
        heads: The columns' names.
        rows: The cells of each row; the first cell names the row.
    """
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    borders = 3 * len(heads) + 1
    if sum(widths) + borders > out.width:
        for first, *cells in rows:
            show(first)
            for head, cell in zip(heads[1:], cells, strict=True):
                if cell:
                    show(f"  {head}: {cell}")
        return
    table = Table(*heads)
    for row in rows:
        table.add_row(*map(safe, row))
    out.print(table)


@contextmanager
def report_errors() -> Iterator[None]:
    """Context manager that prints expected errors as sentences, without a traceback, and exits with 1."""
    try:
        yield
    except DatagenError as error:
        print_error(str(error))
    except ValidationError as error:
        print_error("; ".join(f"the setting {problem['loc'][0]}: {sentence_of(problem)}" for problem in error.errors()))
    except SQLAlchemyError as error:  # the error's own text may contain the database's password
        from datagen.store.database import explain

        print_error(explain(error))
    except RedisError as error:
        from datagen.queue.queues import explain_redis

        print_error(f"{explain_redis(error)} See: datagen doctor")


def needs_data(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command that needs a database. Without one, the command prints an error and creates no data folder."""

    @wraps(command)
    def checked(**arguments: Any) -> None:
        with report_errors():
            settings().check_database_exists()
        command(**arguments)

    return checked


@contextmanager
def unwind_on_sigterm() -> Iterator[None]:
    """Context manager in which SIGTERM ends the command as Ctrl-C does, so that what it has half written is removed."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signal.SIGTERM)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def print_error(sentence: str) -> NoReturn:
    """Print an error and exit with 1."""
    err.print(f"[red]Error:[/] {safe(sentence)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1) from None


def print_json(value: Any) -> None:
    """Print a value as JSON, for other programs to read."""
    sys.stdout.write(json.dumps(value) + "\n")
