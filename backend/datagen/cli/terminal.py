"""What every command has in common: how it speaks on the terminal, and the parameters that several have."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
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


@contextmanager
def speaking() -> Iterator[None]:
    """Errors of ours are sentences: print them, without a traceback, and exit with 1."""
    try:
        yield
    except DatagenError as error:
        complain(str(error))
    except ValidationError as error:
        said = [f"the setting {one['loc'][0]}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()]
        complain("; ".join(said))
    except SQLAlchemyError as error:  # its own text may hold the database's password
        from datagen.store.database import explain

        complain(explain(error))
    except RedisError as error:
        from datagen.jobs.queues import explain_redis

        complain(f"{explain_redis(error)} See: datagen doctor")


def complain(sentence: str) -> NoReturn:
    """Say what is wrong and exit with 1."""
    err.print(f"[red]Error:[/] {safe(sentence)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1) from None


def print_json(value: Any) -> None:
    """For other programs to read."""
    sys.stdout.write(json.dumps(value) + "\n")
