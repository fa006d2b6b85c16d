"""The ``datagen`` command: its options, and its commands in the order of ``--help``."""

from __future__ import annotations

import os

# Before numpy is loaded. There is a worker for each core, and its matrices are small: further threads of the linear
# algebra would spend more processor time on waiting for each other than it takes. Child processes inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from typing import Annotated

import typer
from dotenv import dotenv_values

from datagen import __version__
from datagen.cli import admin, deciding, engines, exporting, mending, notifying, pushing, reproducing, running, studies
from datagen.cli.console import err, needs_data, out, report_errors, safe
from datagen.cli.usage import Command, Group
from datagen.entrypoints.bootstrap import settings
from datagen.operations.logging import configure_logging
from datagen.store.private_folder import close_to_others
from datagen.synthesis.engine import engine_names

#: Variables that libraries read only from the environment; they may be set in .env too.
_ENVIRONMENTAL = ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HOME")

#: Commands that run until they are stopped; their log is JSON, for programs to read.
_SERVICES = frozenset({"up", "web", "worker", "scheduler"})

#: Commands whose files may be read by other users, as the user's umask says.
_FOR_OTHERS = frozenset({"export", "push"})

app = typer.Typer(
    name="datagen",
    cls=Group,
    help="Synthesize labelled images of a rare object, reviewed and approved inside Label Studio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        out.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def main(
    ctx: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Read the settings; they come from the environment, see the README."""
    if ctx.invoked_subcommand not in _FOR_OTHERS:
        os.umask(0o077)
    for name, value in dotenv_values(".env").items():
        if name in _ENVIRONMENTAL and value:
            os.environ.setdefault(name, value)
    with report_errors():
        for path in close_to_others(settings().data_dir, engine_names()):
            err.print(f"[yellow]Closed to others:[/] {safe(str(path))}", highlight=False, soft_wrap=True)
        configure_logging(
            settings().log_level, settings().known_secrets(), for_a_person=ctx.invoked_subcommand not in _SERVICES
        )


for command in (
    running.up,
    running.web,
    running.worker,
    running.scheduler,
    admin.migrate,
    admin.secrets,
    studies.provision,
    needs_data(studies.add),
    needs_data(studies.status),
    needs_data(deciding.preview),
    needs_data(deciding.refine),
    needs_data(deciding.audit_samples),
    needs_data(deciding.approve),
    needs_data(deciding.pause),
    needs_data(deciding.resume),
    needs_data(deciding.cancel),
    needs_data(deciding.stop),
    needs_data(studies.audit),
    needs_data(exporting.export),
    needs_data(pushing.push),
    needs_data(exporting.view),
    reproducing.reproduce,
    needs_data(exporting.card),
    needs_data(mending.retry),
    needs_data(mending.discard),
    needs_data(mending.mend_links),
    needs_data(studies.edit),
    needs_data(studies.archive),
    needs_data(studies.clone),
    needs_data(studies.delete),
    needs_data(admin.backup),
    admin.restore,
    engines.engines,
    admin.doctor,
):
    app.command(cls=Command)(command)
app.add_typer(notifying.app)
