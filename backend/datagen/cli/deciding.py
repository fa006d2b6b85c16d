"""Commands that submit a decision about a study, as its decision task does."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from datagen.cli.console import Study, report_errors, show
from datagen.domain.decision import Decision
from datagen.domain.foreign_text import plain
from datagen.domain.lifecycle import StudyEvent
from datagen.entrypoints.bootstrap import services

Note = Annotated[str, typer.Option(help="A note that is stored with the decision.")]


def preview(name: Study, note: Note = "") -> None:
    """Freeze the inputs as a new version and synthesize a preview round; it replaces an open round."""
    _decide(name, Decision(action=StudyEvent.BUILD_PREVIEW, note=plain(note)))


def refine(
    name: Study,
    confirm: Annotated[
        bool, typer.Option("--confirm", "--yes", help="Confirm a refinement without a verdict: new samples alone.")
    ] = False,
    note: Note = "",
) -> None:
    """Turn the verdicts into a child version and synthesize its preview round."""
    _decide(name, Decision(action=StudyEvent.REFINE, note=plain(note), confirmed=confirm))


def audit_samples(
    name: Study,
    count: Annotated[
        int | None, typer.Option(help="How many further samples to judge, 1 to 200; by default DATAGEN_AUDIT_SIZE.")
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", "--yes", help="Confirm an audit before a verdict, or a further one.")
    ] = False,
    note: Note = "",
) -> None:
    """Synthesize further samples of the version, to state what share of them is acceptable; they train nothing."""
    _decide(name, Decision(action=StudyEvent.AUDIT, audit_count=count, note=plain(note), confirmed=confirm))


def approve(
    name: Study,
    count: Annotated[int, typer.Option(help="How many images to generate, 1 to 1,000,000.")],
    run_name: Annotated[str, typer.Option("--name", help="The run's name.")] = "",
    note: Note = "",
    confirm: Annotated[
        bool,
        typer.Option("--confirm", "--yes", help="Confirm a run that needs a confirmation, such as a very large one."),
    ] = False,
) -> None:
    """Accept the version under review and generate its images."""
    decision = Decision(
        action=StudyEvent.APPROVE, count=count, name=plain(run_name), note=plain(note), confirmed=confirm
    )
    _decide(name, decision)


def pause(name: Study, note: Note = "") -> None:
    """Pause a run: shards that are being rendered are finished, and no new one begins before "resume"."""
    _decide(name, Decision(action=StudyEvent.PAUSE, note=plain(note)))


def resume(name: Study, note: Note = "") -> None:
    """Resume a paused run."""
    _decide(name, Decision(action=StudyEvent.RESUME, note=plain(note)))


def cancel(name: Study, note: Note = "") -> None:
    """Cancel the current round, audit or run; finished images are kept."""
    _decide(name, Decision(action=StudyEvent.CANCEL, note=plain(note)))


def stop(name: Study, note: Note = "") -> None:
    """Stop a study; "preview" opens it again."""
    _decide(name, Decision(action=StudyEvent.STOP, note=plain(note)))


def _decide(name: str, decision: Decision) -> None:
    from datagen.workflow.decisions.submit import DecisionCommand, decide
    from datagen.workflow.services import find_study

    with report_errors():
        with services().database.read() as session:
            study_id = find_study(session, name).id
        who = f"{getpass.getuser()} (datagen {decision.action})"
        decide(services(), DecisionCommand(study_id=study_id, decision=decision, who=who))
        show(f"{name}: “{decision.action}” is under way; see the Decisions project or: datagen status")
