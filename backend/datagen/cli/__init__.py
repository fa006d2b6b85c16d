"""The ``datagen`` command: its options, and its commands in the order that ``--help`` shows them in."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from dotenv import dotenv_values

from datagen import __version__
from datagen.cli import deciding, running, studies, upkeep
from datagen.cli.terminal import err, out, safe, speaking
from datagen.jobs.context import settings
from datagen.jobs.logs import configure_logging
from datagen.store.private_folder import close_to_others

#: What libraries and engines read from the environment alone, and a .env may name too.
_ENVIRONMENTAL = ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HOME", "DATAGEN_HANG_SECONDS")

app = typer.Typer(
    name="datagen",
    help="Synthesize labelled images of a rare thing, reviewed and approved inside Label Studio.",
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
    if ctx.invoked_subcommand != "export":  # an export is for others too
        os.umask(0o077)
    for name, value in dotenv_values(".env").items():
        if name in _ENVIRONMENTAL and value:
            os.environ.setdefault(name, value)
    with speaking():
        for path in close_to_others(settings().data_dir):
            err.print(f"[yellow]Closed to others:[/] {safe(str(path))}", highlight=False, soft_wrap=True)
        configure_logging(settings().log_level, settings().known_secrets())
        # what an engine keeps between processes (fits, measurements) lies in the data folder: a .env may name it
        os.environ["DATAGEN_DATA_DIR"] = str(settings().data_dir.absolute())


for command in (
    running.up,
    running.web,
    running.worker,
    running.scheduler,
    upkeep.migrate,
    upkeep.secrets,
    studies.provision,
    studies.add,
    studies.status,
    deciding.preview,
    deciding.refine,
    deciding.approve,
    deciding.cancel,
    deciding.stop,
    studies.export,
    studies.retry,
    studies.discard,
    studies.mend_links,
    studies.delete,
    upkeep.backup,
    upkeep.restore,
    upkeep.doctor,
):
    app.command()(command)
