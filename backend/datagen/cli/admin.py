"""Commands for administrators: the schema, the secrets, backups and diagnostics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datagen.cli.console import out, report_errors, safe, show
from datagen.domain.wording import counted
from datagen.entrypoints.bootstrap import settings


def migrate() -> None:
    """Upgrade the database's schema."""
    from datagen.store.database import Database

    with report_errors():
        Database(settings().resolved_database_url).upgrade()


def secrets(
    action: Annotated[
        str, typer.Argument(help="accept: register this machine's secrets and image store for the installation.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Register this machine's secrets and image store; other machines then need the same ones."""
    from datagen.entrypoints.installation import accept

    if action != "accept":
        raise typer.BadParameter("the only action is: accept")
    if not yes:
        typer.confirm("Refuse every machine that has other secrets than this one?", abort=True)
    with report_errors():
        changed = accept(settings())
        if not changed:
            out.print("this machine's secrets and image store are the installation's already", highlight=False)
            return
        out.print(f"accepted: {', '.join(changed)}", highlight=False)
        out.print("  give the other machines the same, start every process again, then for each study run:")
        out.print("  datagen provision STUDY, and datagen mend-links STUDY", highlight=False)


def backup(path: Annotated[Path, typer.Argument(help="The zip file to write.")]) -> None:
    """Write every row to a file, during operation. Copy the image store's folder or bucket as well."""
    from datagen.store.backup import back_up
    from datagen.store.database import Database

    with report_errors():
        database = Database(settings().resolved_database_url)
        database.check_schema()
        counts = back_up(database, path)
        show(f"{path}: {counted(sum(counts.values()), 'row')}")


def restore(path: Annotated[Path, typer.Argument(help="A file that “datagen backup” wrote.")]) -> None:
    """Fill an empty database from a backup; SQLite and PostgreSQL alike."""
    from datagen.store.backup import restore as fill
    from datagen.store.database import Database

    with report_errors():
        counts = fill(Database(settings().resolved_database_url), path)
        show(f"{counted(sum(counts.values()), 'row')} restored")


def doctor(
    study: Annotated[str | None, typer.Option(help="Check this study's projects and webhooks too.")] = None,
) -> None:
    """Check every part, and name each fault with its fix."""
    from datagen.operations.diagnostics.examine import examine

    good = True
    with report_errors():
        for check in examine(settings(), study):
            good = good and check.good
            mark = "[green]ok[/]  " if check.good else "[yellow]wait[/]" if check.skipped else "[red]FAIL[/]"
            out.print(f"{mark} {safe(check.name)}: {safe(check.finding)}", highlight=False, soft_wrap=True)
    if not good:
        raise typer.Exit(1)
