"""Commands about a study: making it, giving it inputs, seeing where it stands, taking what it made, ending it."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from datagen.cli.terminal import AsJson, Study, err, print_json, safe, show, show_table, speaking
from datagen.cli.upkeep import migrate
from datagen.domain.inputs import Role
from datagen.domain.wording import by_number, counted
from datagen.jobs.context import connection_of, settings, workshop


def provision(
    name: Study,
    label: Annotated[list[str] | None, typer.Option(help="What the thing is called; may be repeated.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="What new versions are made with; by default DATAGEN_ENGINE if it is set, else as it was."),
    ] = None,
    confirm_above: Annotated[
        int | None,
        typer.Option(min=0, help="A run of more images has to be confirmed; 10,000 where it was never given."),
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
            confirm_above=confirm_above,
        )
        if as_json:
            projects = {desk.name.lower(): n for desk, n in made.projects.items()}
            engines = {"engine": made.engine, "engine_before": made.engine_before}
            print_json({"study": name, "projects": projects, **engines})
            return
        show(name)
        addresses = [(str(desk), f"{chosen.label_studio_url}/projects/{n}/data") for desk, n in made.projects.items()]
        show_table(("project", "address"), addresses)
        changed = f"{made.engine_before} → {made.engine}" if made.engine_before else made.engine
        show(f"  engine: {changed}")
        for word, lines in (("made", made.created), ("mended", made.mended)):
            for line in lines:
                show(f"  {word} {line}")
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
        show(
            f"{counted(added.new, 'image')} added, {added.known} {by_number(added.known, 'was', 'were')} there already"
        )
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
        if not found:
            show("There are no studies yet. Make one: datagen provision NAME --label LABEL")
            return
        keys = (
            *("study", "engine", "state", "version"),
            *("inputs_text", "verdicts_text", "under_way", "dataset_tasks"),
        )
        heads = ("study", "engine", "state", "version", "inputs", "verdicts", "under way", "dataset")
        show_table(heads, [[str(one[key]) for key in keys] for one in found])
        for one in found:
            for problem in one["problems"]:
                err.print(f"[yellow]{safe(one['study'])}:[/] {safe(problem)}", highlight=False, soft_wrap=True)


def export(
    name: Study,
    to: Annotated[Path, typer.Option("--out", help="The zip file to write.")],
    run: Annotated[int | None, typer.Option(help="Only the run of this number; by default all.")] = None,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="coco, yolo, yolo-segment, voc or semantic; may be repeated.")
    ] = None,
) -> None:
    """Write the generated images with masks and labels as a zip."""
    from datagen.workflow.exporting import export_study, unfinished_runs

    with speaking():
        for remark in unfinished_runs(workshop(), name, run):
            err.print(f"[yellow]Not complete:[/] {safe(remark)}", highlight=False, soft_wrap=True)
        summary = export_study(workshop(), name, to, run_number=run, formats=tuple(formats or ("coco",)))
        show(f"{to}: {counted(summary.samples, 'image')}, {counted(summary.instances, 'label')}")


def discard(
    name: Study, task: Annotated[list[int], typer.Argument(help="The tasks' numbers; status and doctor name them.")]
) -> None:
    """Delete tasks that Label Studio cannot send, and so cannot show or delete itself."""
    from datagen.workflow.unreadable_tasks import discard as delete_unreadable

    with speaking():
        gone = delete_unreadable(workshop(), name, task)
        show(f"deleted: {by_number(len(gone), 'task', 'tasks')} {', '.join(map(str, gone))}")


def retry(name: Study) -> None:
    """Try again what was given up after repeated failures."""
    from datagen.workflow.mending import retry as try_again

    with speaking():
        show(f"{counted(try_again(workshop(), name), 'failed step')} tried again")


def delete(
    name: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    projects: Annotated[bool, typer.Option("--projects", help="Delete its Label Studio projects too.")] = False,
) -> None:
    """Delete a study with its pictures; its lines in the audit stay."""
    from datagen.workflow.mending import delete_study
    from datagen.workflow.workshop import find_study

    with speaking(), workshop().database.read() as session:
        find_study(session, name)  # there is nothing to confirm without it
    if not yes:
        typer.confirm(f"Delete {name!r} with everything made for it?", abort=True)
    with speaking():
        gone = delete_study(workshop(), name, getpass.getuser(), with_projects=projects)
        show(f"{name!r} is deleted, with {counted(gone, 'picture')} that no other study has")
