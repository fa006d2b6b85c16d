"""Commands about a study: provisioning, inputs, status, export, repair and deletion."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datagen.cli.admin import migrate
from datagen.cli.console import AsJson, Study, err, print_json, report_errors, safe, show, show_table
from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.verdict import VerdictRule
from datagen.domain.wording import by_number, counted
from datagen.entrypoints.bootstrap import join_as, server_access_of, services, settings
from datagen.entrypoints.installation import ProcessRole

if TYPE_CHECKING:
    from datagen.workflow.inputs.import_files import Added
    from datagen.workflow.studies.open import OpenedStudy


#: Number of items shown for each reason; ``--json`` shows all.
EXAMPLES = 3
#: Number of notes shown; ``--json`` shows all.
MAX_NOTES = 20


def provision(
    name: Study,
    label: Annotated[list[str] | None, typer.Option(help="A label of the concept; may be repeated.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Engine of new versions; by default DATAGEN_ENGINE if it is set, otherwise unchanged."),
    ] = None,
    confirm_above: Annotated[
        int | None,
        typer.Option(min=0, help="A run of more images has to be confirmed; 10,000 if it was never set."),
    ] = None,
    min_judged: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Approving a round with a smaller share of verdicts has to be confirmed; 0.5."),
    ] = None,
    min_good: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Approving a round with a smaller share of good verdicts has to be confirmed; 0.5."
        ),
    ] = None,
    annotate_up_to: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Runs of up to this many images get annotations in Label Studio, for its own export; 10,000.",
        ),
    ] = None,
    verdict_rule: Annotated[
        VerdictRule | None,
        typer.Option(
            help="Which verdicts on a preview count if there are several: each, the newest, the first, or each if "
            "all-agree (if they disagree, the preview counts as not judged); each if it was never set.",
        ),
    ] = None,
    reject_below: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.9,
            help="Audits and runs of versions refined from now on reject what the critic calls good with a smaller "
            "probability; 0: nothing; 0.2 if it was never set.",
        ),
    ] = None,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Replace the secret of its webhooks, after a leak.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a study's Label Studio projects, or restore missing parts of them."""
    from datagen.workflow.studies.open import open_study
    from datagen.workflow.study_options import StudyOptions

    with report_errors():
        migrate()
        chosen = settings()
        join_as(ProcessRole.PROVISION)
        opened = open_study(
            services(),
            name,
            label or [],
            server_access_of(chosen),
            engine=engine or chosen.chosen_engine,
            default_engine=chosen.engine,
            preview_size=chosen.preview_size,
            options=StudyOptions(
                confirm_above=confirm_above,
                min_judged=min_judged,
                min_good=min_good,
                annotate_up_to=annotate_up_to,
                verdict_rule=verdict_rule,
                reject_below=reject_below,
            ),
            new_secret=new_secret,
        )
        if as_json:
            projects = {kind.name.lower(): n for kind, n in opened.projects.items()}
            engines = {"engine": opened.engine, "engine_before": opened.engine_before}
            print_json({"study": name, "projects": projects, **engines})
            return
        _show_opened(name, opened, chosen.label_studio_url)


def _show_opened(name: str, opened: OpenedStudy, label_studio_url: str) -> None:
    """Print a provisioned study's projects, what was changed, and what to do next."""
    show(name)
    addresses = {kind: f"{label_studio_url}/projects/{n}/data" for kind, n in opened.projects.items()}
    show_table(("project", "address"), [(str(kind), address) for kind, address in addresses.items()])
    changed = f"{opened.engine_before} → {opened.engine}" if opened.engine_before else opened.engine
    show(f"  engine: {changed}")
    for word, lines in (
        ("made", opened.created),
        ("mended", opened.mended),
        ("left as people changed it:", opened.kept),
    ):
        for line in lines:
            show(f"  {word} {line}")
    for line in opened.problems:
        err.print(f"[yellow]Not done:[/] {safe(line)}", highlight=False, soft_wrap=True)
    show(
        "Next: give inputs in Concepts, Canvases and Backgrounds (or with “datagen add”); then the newest task of "
        f"Decisions says what is missing, and what can be done: {addresses[ProjectKind.DECISIONS]}"
    )


def add(
    name: Study,
    role: Annotated[Role, typer.Argument(help="Role of the images.")],
    path: Annotated[
        Path | None,
        typer.Argument(help="A folder of images, or an export (Label Studio, COCO, VOC, YOLO); or a zip of one."),
    ] = None,
    from_project: Annotated[int | None, typer.Option(help="Take the tasks of this Label Studio project.")] = None,
    view: Annotated[int | None, typer.Option(help="Only the tasks in this tab of it.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Also look for the export's pictures in this folder, at any depth.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="THEIRS=OURS: use the export's label THEIRS as the study's label OURS; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add inputs from a folder, a zip, an export (with the annotations of its images) or another project."""
    from datagen.workflow.inputs.import_files import add_files, add_from_project

    if (path is None) == (from_project is None):
        raise typer.BadParameter("give either PATH or --from-project")
    if from_project is None and view is not None:
        raise typer.BadParameter("--view belongs to --from-project")
    if from_project is not None and images is not None:
        raise typer.BadParameter("--images belongs to a PATH")
    aliases = dict(_alias(pair) for pair in label or ())
    with report_errors():
        if from_project is not None:
            added = add_from_project(services(), name, role, from_project, view, aliases=aliases)
        else:
            assert path is not None
            added = add_files(services(), name, role, path, images=images, aliases=aliases)
    if as_json:
        counts = {"new": added.new, "known": added.known, "completed": added.completed, "regions": added.regions}
        print_json({**counts, "problems": list(added.problems), "notes": list(added.notes)})
    else:
        _show(added)
    if not added.usable:
        raise typer.Exit(1)


def _alias(pair: str) -> tuple[str, str]:
    theirs, equals, ours = pair.rpartition("=")
    if not equals or not theirs or not ours:
        raise typer.BadParameter(f"--label {pair}: give THEIRS=OURS, for example --label crack=scratch")
    return theirs, ours


def _show(added: Added) -> None:
    """Print the added items, and the unused ones with their reasons."""
    counts = [
        f"{counted(added.new, 'image')} added",
        f"{added.known} {by_number(added.known, 'was', 'were')} there already",
    ]
    if added.completed:
        counts.append(f"{added.completed} got drawings that they lacked")
    counts.append(f"{counted(added.regions, 'region')} used")
    show(", ".join(counts))
    for note in added.notes[:MAX_NOTES]:
        show(f"  {note}")
    if len(added.notes) > MAX_NOTES:
        show(f"  and {counted(len(added.notes) - MAX_NOTES, 'more note')}; --json shows all")
    for reason, items in added.grouped:
        shown = "; ".join(items[:EXAMPLES]) + (f"; and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else "")
        times = f"{counted(len(items), 'time')}, " if len(items) > 1 else ""
        err.print(f"[yellow]Not used:[/] {times}{safe(shown)}: {safe(reason)}", highlight=False, soft_wrap=True)
    if not added.usable:
        err.print("[red]Error:[/] nothing of it could be used", highlight=False)


def status(
    name: Annotated[str | None, typer.Argument(help="One study; by default all.")] = None, as_json: AsJson = False
) -> None:
    """Show the state of studies."""
    from datagen.workflow.studies.queries import describe

    with report_errors():
        with err.status("Reading where the studies stand …"):  # shown only on a terminal
            studies = describe(services().database, name)
        if as_json:
            print_json({"studies": studies})
            return
        if not studies:
            show("There are no studies yet. Make one: datagen provision NAME --label LABEL")
            return
        keys = (
            *("study", "engine", "state", "version"),
            *("inputs_text", "verdicts_text", "under_way", "dataset_tasks"),
        )
        heads = ("study", "engine", "state", "version", "inputs", "verdicts", "under way", "dataset images")
        show_table(heads, [[str(study[key]) for key in keys] for study in studies])
        for study in studies:
            for sentence in study["acceptance"]:
                show(f"{study['study']}, version {study['version']}: {sentence}")
            for problem in study["problems"]:
                err.print(f"[yellow]{safe(study['study'])}:[/] {safe(problem)}", highlight=False, soft_wrap=True)


def audit(
    name: Study,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Number of lines, the newest ones.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show a study's audit: its decisions, their authors and times; also of a deleted study."""
    from datagen.workflow.studies.audit import audit_lines

    with report_errors():
        lines = audit_lines(services().database, name, count)
        if as_json:
            print_json({"study": name, "audit": lines})
        elif not lines:
            show(f"nothing was decided in {name!r} yet")
        else:
            show_table(("at", "who", "what"), [[line["at"], line["who"], line["what"]] for line in lines])


def edit(
    name: Study,
    new_name: Annotated[str | None, typer.Option("--name", help="The new name, 3 to 50 characters.")] = None,
    description: Annotated[
        str | None, typer.Option(help="What the study is for, 200 characters at most; empty removes it.")
    ] = None,
) -> None:
    """Change a study's name or description; the titles of its Label Studio projects follow the name."""
    from datagen.workflow.studies.editing import edit_study, study_id_of

    if new_name is None and description is None:
        raise typer.BadParameter("give --name, --description or both")
    with report_errors():
        edited = edit_study(
            services(), study_id_of(services(), name), getpass.getuser(), name=new_name, description=description
        )
        show(f"{edited.name}: {edited.description or 'no description'}")
        for note in edited.notes:
            show(f"  {note}")


def clone(
    name: Study,
    new_name: Annotated[str, typer.Argument(help="The new study's name.")],
    version: Annotated[
        int | None,
        typer.Option(min=1, help="The clone's first version begins with the parameters of this version of the study."),
    ] = None,
) -> None:
    """Create a study with the inputs, engine and options of another one, in Label Studio projects of its own."""
    from datagen.workflow.studies.clone import clone_study

    with report_errors():
        chosen = settings()
        join_as(ProcessRole.PROVISION)
        cloned = clone_study(services(), name, new_name, getpass.getuser(), server_access_of(chosen), version=version)
        _show_opened(new_name, cloned.opened, chosen.label_studio_url)
        for role, added in cloned.added.items():
            show(f"{role}:")
            _show(added)


def archive(
    name: Study,
    undo: Annotated[bool, typer.Option("--undo", help="Take it out of the archive.")] = False,
) -> None:
    """Hide a study on the home page of the pages, until its archive is asked for; nothing else changes."""
    from datagen.workflow.studies.editing import archive_study, study_id_of

    with report_errors():
        archive_study(services(), study_id_of(services(), name), getpass.getuser(), archived=not undo)
        show(f"{name!r} is {'no longer archived' if undo else 'archived'}")


def delete(
    name: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    projects: Annotated[bool, typer.Option("--projects", help="Delete its Label Studio projects too.")] = False,
) -> None:
    """Delete a study with its pictures; its audit is kept."""
    from datagen.workflow.services import find_study
    from datagen.workflow.studies.maintenance import delete_study

    with report_errors(), services().database.read() as session:
        find_study(session, name)  # an unknown name is reported before the confirmation
    if not yes:
        typer.confirm(f"Delete {name!r} with everything made for it?", abort=True)
    with report_errors():
        pictures = delete_study(services(), name, getpass.getuser(), with_projects=projects)
        show(f"{name!r} is deleted, with {counted(pictures, 'picture')} that no other study has")
