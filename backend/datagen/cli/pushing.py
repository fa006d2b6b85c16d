"""The command that pushes generated images into a Label Studio project."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from datagen.cli.console import AsJson, Study, print_json, report_errors, show
from datagen.cli.progress import progress_bar
from datagen.domain.wording import counted
from datagen.entrypoints.bootstrap import services, settings


def push(
    name: Study,
    project: Annotated[int | None, typer.Option(help="Push into this Label Studio project.")] = None,
    new: Annotated[str | None, typer.Option(help="Push into a new project of this title.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Write JSONL files to this folder or URL, which Label Studio syncs as a storage of a project."
        ),
    ] = None,
    run: Annotated[
        list[int] | None, typer.Option(help="Only the run of this number; may be repeated; by default all.")
    ] = None,
    annotations: Annotated[
        bool, typer.Option("--annotations", help="As annotations, which Label Studio exports, not as predictions.")
    ] = False,
    images_at: Annotated[
        str,
        typer.Option(
            help="The address of an export of the same images, such as s3://bucket/folder, from which Label Studio "
            "takes them; by default Datagen's own links, which expire."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Push the generated images into a Label Studio project of your own; run again, it adds what is missing."""
    from datagen.workflow.studies.editing import study_id_of
    from datagen.workflow.studies.push import PushOptions, create_target, push_to_project, push_to_storage

    if sum(target is not None for target in (project, new, storage)) != 1:
        raise typer.BadParameter("give one of --project, --new and --storage")
    options = PushOptions(runs=tuple(run or ()), annotations=annotations, images_at=images_at)
    with report_errors():
        study_id = study_id_of(services(), name)
        if new is not None:
            project = create_target(services(), study_id, new)
        with progress_bar("Pushing") as progress:
            if storage is not None:
                pushed = push_to_storage(services(), study_id, storage, options, progress)
            else:
                assert project is not None
                pushed = push_to_project(services(), study_id, project, options, progress)
        if as_json:
            print_json({"study": name, "project": pushed.project_id, "images": pushed.samples, "new": pushed.new})
        elif storage is not None:
            show(f"{storage}: {counted(pushed.samples, 'image')}, {counted(pushed.new, 'new file')}")
        else:
            address = f"{settings().label_studio_url}/projects/{pushed.project_id}/data"
            show(f"{address}: {counted(pushed.samples, 'image')}, {pushed.new} new")
            if not images_at:
                show(
                    f"Its image links expire after {counted(settings().image_link_days, 'day')}; to renew them, "
                    f"run: datagen mend-links {shlex.quote(name)} --project {pushed.project_id}"
                )
