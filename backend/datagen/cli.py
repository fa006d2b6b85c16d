"""The ``datagen`` command."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from datagen import __version__
from datagen.domain.decision import Decision
from datagen.domain.inputs import Role
from datagen.domain.lifecycle import Happening
from datagen.errors import DatagenError
from datagen.jobs.context import connection_of, settings, workshop
from datagen.jobs.logs import configure_logging

app = typer.Typer(
    name="datagen",
    help="Synthesize labelled images of a rare thing, reviewed and approved inside Label Studio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
out, err = Console(), Console(stderr=True)

Study = Annotated[str, typer.Argument(help="The study's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]


#: What a terminal would obey, as escapes that it shows.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if code != ord("\n")}


def _safe(text: str) -> str:
    """Text from outside, to be shown as it is: no markup of rich's and no control of the terminal's."""
    return escape(text.translate(_CONTROLS))


@contextmanager
def _speaking() -> Iterator[None]:
    """Errors of ours are sentences: print them, without a traceback, and exit with 1."""
    try:
        yield
    except DatagenError as error:
        _complain(str(error))
    except ValidationError as error:
        _complain("; ".join(f"the setting {one['loc'][0]}: {one['msg']}" for one in error.errors()))
    except SQLAlchemyError as error:  # its own text may hold the database's password
        _complain(
            f"the database does not answer ({type(error).__name__}). "
            "Check DATAGEN_DATABASE_URL, then run: datagen migrate"
        )
    except RedisError as error:
        _complain(f"Redis does not answer ({type(error).__name__}). Start it, or set REDIS_URL; see: datagen doctor")


def _complain(sentence: str) -> NoReturn:
    err.print(f"[red]Error:[/] {_safe(sentence)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1) from None


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
    with _speaking():
        configure_logging(settings().log_level, settings().known_secrets())


@app.command()
def up(
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; by default one a core.")] = None,
) -> None:
    """Run web, workers and scheduler on this machine until Ctrl-C."""
    from datagen.jobs.supervisor import commands, supervise
    from datagen.synthesis.engine import needs_gpu

    with _speaking():
        migrate()
        connection_of(settings())  # makes the secrets once, before several processes ask for them
        if os.geteuid() == 0:
            err.print("[yellow]Running as root:[/] a fault in a decoder would be root's; use a user of its own.")
        supervise(commands(workers or os.cpu_count() or 1, gpu=needs_gpu(settings().engine)))


@app.command()
def web() -> None:
    """Run the web process (gunicorn) alone."""
    with _speaking():
        chosen = settings()
        connection_of(chosen)
    bind = f"{chosen.host}:{chosen.port}"
    arguments = ["--config", "python:datagen.web.serving", "--bind", bind]
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *arguments, "datagen.web.app:create_app()"])  # noqa: S606


@app.command()
def worker(
    queue: Annotated[list[str] | None, typer.Option(help="Serve this queue alone; may be repeated.")] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Render for engines that need a GPU: a process for each.")] = False,
    device: Annotated[str | None, typer.Option(hidden=True, help="The one GPU of this process.")] = None,
) -> None:
    """Run one worker; with --gpu one for each GPU of this machine."""
    from datagen.jobs.lifeline import stop_when_cut
    from datagen.jobs.queues import ALL_QUEUES, GPU
    from datagen.jobs.supervisor import gpu_commands, supervise
    from datagen.jobs.worker import GPU_HANG_SECONDS, GPU_JOBS, run_worker
    from datagen.synthesis.engine import gpus_of

    stop_when_cut()
    with _speaking():
        workshop()
        if not gpu:
            run_worker(settings().redis_url, queue or ALL_QUEUES)
            return
        # what an engine keeps between processes (fits, measurements) lies in the data folder
        os.environ["DATAGEN_DATA_DIR"] = str(settings().data_dir.absolute())
        if device is None:
            supervise(gpu_commands(gpus_of("diffusion")))
            return
        if device:
            os.environ["CUDA_VISIBLE_DEVICES"] = device
        os.environ.setdefault("DATAGEN_HANG_SECONDS", str(GPU_HANG_SECONDS))
        run_worker(settings().redis_url, (GPU,), most_jobs=GPU_JOBS)


@app.command()
def scheduler() -> None:
    """Run what runs by the clock."""
    from datagen.jobs.lifeline import stop_when_cut
    from datagen.jobs.scheduler import run_scheduler

    stop_when_cut()
    with _speaking():
        chosen = settings()
        run_scheduler(chosen.redis_url, sweep_seconds=chosen.sweep_seconds, reconcile_seconds=chosen.reconcile_seconds)


@app.command()
def migrate() -> None:
    """Move the database's schema forward."""
    from datagen.store.database import Database

    with _speaking():
        Database(settings().resolved_database_url).upgrade()


@app.command()
def provision(
    name: Study,
    label: Annotated[list[str] | None, typer.Option(help="What the thing is called; may be repeated.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a study's Label Studio projects, or mend what is missing of them."""
    from datagen.workflow.studies import open_study

    with _speaking():
        migrate()
        chosen = settings()
        made = open_study(
            workshop(),
            name,
            label or [],
            connection_of(chosen),
            engine=chosen.engine,
            preview_size=chosen.preview_size,
        )
        if as_json:
            _print_json({"study": name, "projects": {desk.name.lower(): n for desk, n in made.projects.items()}})
            return
        table = Table(title=_safe(name))
        for head in ("desk", "address"):
            table.add_column(head)
        for desk, project_id in made.projects.items():
            table.add_row(str(desk), f"{chosen.label_studio_url}/projects/{project_id}/data")
        out.print(table)
        for word, lines in (("made", made.created), ("mended", made.mended)):
            for line in lines:
                out.print(f"  {word} {_safe(line)}", highlight=False, soft_wrap=True)
        for line in made.problems:
            err.print(f"[yellow]Not done:[/] {_safe(line)}", highlight=False, soft_wrap=True)


@app.command()
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
    with _speaking():
        if from_project is not None:
            added = add_from_project(workshop(), name, role, from_project, view)
        else:
            assert path is not None
            added = add_files(workshop(), name, role, path)
        if as_json:
            _print_json({"new": added.new, "known": added.known, "problems": list(added.problems)})
            return
        out.print(f"{added.new} added, {added.known} were there already", highlight=False)
        for problem in added.problems:
            err.print(f"[yellow]Not used:[/] {_safe(problem)}", highlight=False, soft_wrap=True)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One study; by default all.")] = None, as_json: AsJson = False
) -> None:
    """Show where studies stand."""
    from datagen.workflow.status import describe

    with _speaking():
        found = describe(workshop().database, name)
        if as_json:
            _print_json({"studies": found})
            return
        table = Table()
        for head in ("study", "state", "version", "inputs", "verdicts", "under way", "dataset"):
            table.add_column(head)
        for one in found:
            table.add_row(
                *(
                    _safe(str(one[key]))
                    for key in (
                        "study",
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
                err.print(f"[yellow]{_safe(one['study'])}:[/] {_safe(problem)}", highlight=False, soft_wrap=True)


@app.command()
def preview(name: Study) -> None:
    """Freeze the inputs as a new version and synthesize a preview round."""
    _decide(name, Decision(action=Happening.BUILD_PREVIEW))


@app.command()
def refine(name: Study) -> None:
    """Turn the verdicts into a child version and synthesize its preview round."""
    _decide(name, Decision(action=Happening.REFINE))


@app.command()
def approve(
    name: Study,
    count: Annotated[int, typer.Option(help="How many images to generate, 1 to 1,000,000.")],
    run_name: Annotated[str, typer.Option("--name", help="The run's name.")] = "",
    note: Annotated[str, typer.Option(help="A note that is kept with it.")] = "",
) -> None:
    """Accept the version under review and generate the bulk."""
    _decide(name, Decision(action=Happening.APPROVE, count=count, name=run_name, note=note))


@app.command()
def cancel(name: Study) -> None:
    """Cancel the round or run under way; what is finished is kept."""
    _decide(name, Decision(action=Happening.CANCEL))


@app.command()
def stop(name: Study) -> None:
    """Stop a study; "preview" opens it again."""
    _decide(name, Decision(action=Happening.STOP))


@app.command()
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

    with _speaking():
        summary = export_study(workshop(), name, to, run_number=run, formats=tuple(formats or ("coco",)))
        out.print(
            f"{_safe(str(to))}: {summary.samples} images, {summary.instances} labels", highlight=False, soft_wrap=True
        )


@app.command()
def retry(name: Study) -> None:
    """Try again what was given up after repeated failures."""
    from datagen.workflow.mending import retry as try_again

    with _speaking():
        out.print(f"{try_again(workshop(), name)} tried again", highlight=False)


@app.command()
def delete(
    name: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    projects: Annotated[bool, typer.Option("--projects", help="Delete its Label Studio projects too.")] = False,
) -> None:
    """Delete a study with its pictures; its lines in the audit stay."""
    from datagen.workflow.mending import delete_study

    if not yes:
        typer.confirm(f"Delete {name!r} with everything made for it?", abort=True)
    with _speaking():
        gone = delete_study(workshop(), name, getpass.getuser(), with_projects=projects)
        out.print(f"{_safe(repr(name))} is deleted, with {gone} pictures that no other study has", highlight=False)


@app.command()
def backup(path: Annotated[Path, typer.Argument(help="The zip file to write.")]) -> None:
    """Write every row to a file, while everything runs. Copy the image store's folder or bucket beside it."""
    from datagen.store.backup import back_up
    from datagen.store.database import Database

    with _speaking():
        counts = back_up(Database(settings().resolved_database_url), path)
        out.print(f"{_safe(str(path))}: {sum(counts.values())} rows", highlight=False, soft_wrap=True)


@app.command()
def restore(path: Annotated[Path, typer.Argument(help="A file that “datagen backup” wrote.")]) -> None:
    """Fill an empty database from a backup; SQLite and PostgreSQL alike."""
    from datagen.store.backup import restore as fill
    from datagen.store.database import Database

    with _speaking():
        counts = fill(Database(settings().resolved_database_url), path)
        out.print(f"{sum(counts.values())} rows restored", highlight=False)


@app.command()
def doctor(
    study: Annotated[str | None, typer.Option(help="Check this study's projects and webhooks too.")] = None,
) -> None:
    """Check every part and name what is wrong and how to mend it."""
    from datagen.jobs.doctor import examine

    good = True
    with _speaking():
        for check in examine(settings(), study):
            good = good and check.good
            mark = "[green]ok[/]  " if check.good else "[red]FAIL[/]"
            out.print(f"{mark} {_safe(check.name)}: {_safe(check.finding)}", highlight=False, soft_wrap=True)
    if not good:
        raise typer.Exit(1)


def _decide(name: str, wish: Decision) -> None:
    from datagen.workflow.deciding import decide
    from datagen.workflow.workshop import find_study

    with _speaking():
        shop = workshop()
        with shop.database.read() as session:
            study_id = find_study(session, name).id
        decide(shop, study_id, wish, f"{getpass.getuser()} (datagen {wish.action})")
        out.print(
            f"{_safe(name)}: “{wish.action}” is under way; see the Decisions project or: datagen status",
            highlight=False,
        )


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
