"""Commands about a study: making it, giving it inputs, seeing where it stands, taking what it made, ending it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from datagen.cli.terminal import AsJson, Study, err, out, print_json, safe, speaking
from datagen.cli.upkeep import migrate
from datagen.domain.inputs import Role
from datagen.jobs.context import connection_of, settings, workshop


def provision(
    name: Study,
    label: Annotated[list[str] | None, typer.Option(help="What the thing is called; may be repeated.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="What new versions are made with; by default DATAGEN_ENGINE if it is set, else as it was."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a study's Label Studio projects, or mend what is missing of them."""
    from datagen.workflow.studies import open_study

    with speaking():
        migrate()
        chosen = settings()
        made = open_study(
            workshop(),
            name,
            label or [],
            connection_of(chosen),
            engine=engine or chosen.chosen_engine,
            preview_size=chosen.preview_size,
        )
        if as_json:
            projects = {desk.name.lower(): n for desk, n in made.projects.items()}
            engines = {"engine": made.engine, "engine_before": made.engine_before}
            print_json({"study": name, "projects": projects, **engines})
            return
        table = Table(title=safe(name))
        for head in ("desk", "address"):
            table.add_column(head)
        for desk, project_id in made.projects.items():
            table.add_row(str(desk), f"{chosen.label_studio_url}/projects/{project_id}/data")
        out.print(table)
        changed = f"{made.engine_before} → {made.engine}" if made.engine_before else made.engine
        out.print(f"  engine: {safe(changed)}", highlight=False, soft_wrap=True)
        for word, lines in (("made", made.created), ("mended", made.mended)):
            for line in lines:
                out.print(f"  {word} {safe(line)}", highlight=False, soft_wrap=True)
        for line in made.problems:
            err.print(f"[yellow]Not done:[/] {safe(line)}", highlight=False, soft_wrap=True)


def add(
    name: Study,
    role: Annotated[Role, typer.Argument(help="What the images are for.")],
    path: Annotated[
        Path | None, typer.Argument(help="A folder of images or a Label Studio JSON file; or a zip of one.")
    ] = None,
    from_project: Annotated[int | None, typer.Option(help="Take the tasks of this Label Studio project.")] = None,
    view: Annotated[int | None, typer.Option(help="Only those in this tab of it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add inputs from a folder, a zip, a Label Studio JSON file (with annotations) or another project."""
    from datagen.workflow.adding import add_files, add_from_project

    if (path is None) == (from_project is None):
        raise typer.BadParameter("give either PATH or --from-project")
    with speaking():
        if from_project is not None:
            added = add_from_project(workshop(), name, role, from_project, view)
        else:
            assert path is not None
            added = add_files(workshop(), name, role, path)
        if as_json:
            print_json({"new": added.new, "known": added.known, "problems": list(added.problems)})
            return
        out.print(f"{added.new} added, {added.known} were there already", highlight=False)
        for problem in added.problems:
            err.print(f"[yellow]Not used:[/] {safe(problem)}", highlight=False, soft_wrap=True)


def status(
    name: Annotated[str | None, typer.Argument(help="One study; by default all.")] = None, as_json: AsJson = False
) -> None:
    """Show where studies stand."""
    from datagen.workflow.status import describe

    with speaking():
        found = describe(workshop().database, name)
        if as_json:
            print_json({"studies": found})
            return
        table = Table()
        for head in ("study", "engine", "state", "version", "inputs", "verdicts", "under way", "dataset"):
            table.add_column(head)
        for one in found:
            table.add_row(
                *(
                    safe(str(one[key]))
                    for key in (
                        "study",
                        "engine",
                        "state",
                        "version",
                        "inputs_text",
                        "verdicts_text",
                        "under_way",
                        "dataset_tasks",
                    )
                )
            )
        out.print(table)
        for one in found:
            for problem in one["problems"]:
                err.print(f"[yellow]{safe(one['study'])}:[/] {safe(problem)}", highlight=False, soft_wrap=True)


def export(
    name: Study,
    to: Annotated[Path, typer.Option("--out", help="The zip file to write.")],
    run: Annotated[int | None, typer.Option(help="Only this run; by default every finished one.")] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="coco, yolo, yolo-segment, voc or semantic; may be repeated.")
    ] = None,
) -> None:
    """Write the generated images with masks and labels as a zip."""
    from datagen.workflow.exporting import export_study

    with speaking():
        summary = export_study(workshop(), name, to, run_number=run, formats=tuple(formats or ("coco",)))
        out.print(
            f"{safe(str(to))}: {summary.samples} images, {summary.instances} labels", highlight=False, soft_wrap=True
        )


def retry(name: Study) -> None:
    """Try again what was given up: events, tasks to publish, and the last round or run where it stood."""
    from datagen.workflow.mending import retry as try_again

    with speaking():
        tried = try_again(workshop(), name, getpass.getuser())
        out.print(f"{tried.outbox} outbox rows and {tried.events} events tried again", highlight=False)
        if tried.revived:
            out.print(tried.revived, highlight=False, soft_wrap=True)
        if tried.left:
            err.print(f"[yellow]Not done:[/] {safe(tried.left)}", highlight=False, soft_wrap=True)


def delete(
    name: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    projects: Annotated[bool, typer.Option("--projects", help="Delete its Label Studio projects too.")] = False,
) -> None:
    """Delete a study with its pictures; its lines in the audit stay."""
    from datagen.workflow.mending import delete_study

    if not yes:
        typer.confirm(f"Delete {name!r} with everything made for it?", abort=True)
    with speaking():
        gone = delete_study(workshop(), name, getpass.getuser(), with_projects=projects)
        out.print(f"{safe(repr(name))} is deleted, with {gone} pictures that no other study has", highlight=False)
