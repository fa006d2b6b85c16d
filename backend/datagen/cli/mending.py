"""Commands that repair a study: failed work, tasks that cannot be read, and links of images."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from datagen.cli.console import Study, err, report_errors, safe, show
from datagen.domain.wording import by_number, counted
from datagen.entrypoints.bootstrap import services


def retry(name: Study) -> None:
    """Retry failed events and publications, and resume the last round or run if it failed."""
    from datagen.workflow.studies.maintenance import retry as try_again

    with report_errors():
        tried = try_again(services(), name, getpass.getuser())
        show(f"{counted(tried.outbox, 'failed message')} and {counted(tried.events, 'failed event')} tried again")
        if tried.inputs:
            show("the reading of inputs and the making of proposals that failed are tried again")
        if tried.revived:
            show(tried.revived)
        if tried.left:
            err.print(f"[yellow]Not done:[/] {safe(tried.left)}", highlight=False, soft_wrap=True)


def discard(
    name: Study, task: Annotated[list[int], typer.Argument(help="The tasks' ids; status and doctor name them.")]
) -> None:
    """Delete tasks that Label Studio cannot send, and so cannot show or delete itself."""
    from datagen.workflow.inputs.unreadable_tasks import discard as delete_unreadable

    with report_errors():
        deleted = delete_unreadable(services(), name, task)
        show(f"deleted: {by_number(len(deleted), 'task', 'tasks')} {', '.join(map(str, deleted))}")


def mend_links(
    name: Study,
    project: Annotated[
        list[int] | None,
        typer.Option(help="Also a project that datagen push filled, by its number; may be repeated."),
    ] = None,
) -> None:
    """Renew the image links in a study's tasks that are no longer valid."""
    from datagen.workflow.studies.image_links import mend_links as sign_again

    with report_errors():
        signed = sign_again(services(), name, project or ())
        show(f"{name}: {signed.mended} of {counted(signed.looked_at, 'link')} signed anew")
        show(f"  {counted(signed.decisions, 'decision task')} will be written anew by a worker")
