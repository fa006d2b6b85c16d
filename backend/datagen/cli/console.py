"""What every command has in common: how it speaks on the terminal, and the parameters that several have."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import DatagenError

out, err = Console(), Console(stderr=True)

Study = Annotated[str, typer.Argument(help="The study's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]

#: What a terminal would obey, as escapes that it shows.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\n")}


def safe(text: str) -> str:
    """Text from outside, to be shown as it is: no markup of rich's and no control of the terminal's."""
    return escape(text.translate(_CONTROLS))


def show(text: str) -> None:
    """Print text from outside as it is; the terminal wraps a line that is longer than it is wide."""
    out.print(safe(text), highlight=False, soft_wrap=True)


def show_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; where the terminal is too narrow for it, each row as a block of lines.

    Args:
        heads: The columns' names.
        rows: For each row its cells, the first of which names the row.
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
    """Errors of ours are sentences: print them, without a traceback, and exit with 1."""
    try:
        yield
    except DatagenError as error:
        print_error(str(error))
    except ValidationError as error:
        said = [f"the setting {one['loc'][0]}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()]
        print_error("; ".join(said))
    except SQLAlchemyError as error:  # its own text may hold the database's password
        from datagen.store.database import explain

        print_error(explain(error))
    except RedisError as error:
        from datagen.queue.queues import explain_redis

        print_error(f"{explain_redis(error)} See: datagen doctor")


def print_error(sentence: str) -> NoReturn:
    """Say what is wrong and exit with 1."""
    err.print(f"[red]Error:[/] {safe(sentence)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1) from None


def print_json(value: Any) -> None:
    """For other programs to read."""
    sys.stdout.write(json.dumps(value) + "\n")
