"""The status of studies, as plain values for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import Role
from datagen.domain.verdict import Opinion
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions.spec_versions import current_spec, running_batch
from datagen.workflow.generation import batch_status
from datagen.workflow.inputs import unreadable_tasks
from datagen.workflow.inputs.input_requests import reading_problem
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.reviews import audits, verdict_sync
from datagen.workflow.services import find_study


def describe(database: Database, name: str | None = None) -> list[dict[str, Any]]:
    """Return a description of every study, or only of the study ``name``. Each is an object of JSON values.

    Raises:
        Refused: there is no study of that name.
    """
    with database.read() as session:
        studies = [find_study(session, name)] if name else session.scalars(select(StudyRow).order_by(StudyRow.name))
        return [_describe(session, study) for study in studies]


def _describe(session: Session, study: StudyRow) -> dict[str, Any]:
    inputs = collect(session, study)
    spec = current_spec(session, study.id)
    running = running_batch(session, study.id)
    of_study = BatchRow.study_id == study.id
    of_previews = of_study & (BatchRow.kind == BatchKind.ROUND)
    verdicts = _count_verdicts(session, of_previews)
    version_verdicts = _count_verdicts(session, of_previews & (BatchRow.spec_id == (spec.id if spec else None)))
    audit_verdicts = _count_verdicts(session, of_study & (BatchRow.kind == BatchKind.AUDIT))
    spot_check_verdicts = _count_verdicts(session, of_study & (BatchRow.kind == BatchKind.SPOT))
    counts = {str(role): inputs.count(role) for role in Role}
    outbox_errors = session.scalars(
        select(OutboxRow.error).where(OutboxRow.study_id == study.id, OutboxRow.error != "")
    ).all()
    return {
        "study": study.name,
        "engine": study.engine,
        "state": str(study.state),
        "version": spec.version if spec else 0,
        "inputs": counts,
        "inputs_text": ", ".join(f"{count} {role}" for role, count in counts.items()),
        # on previews of all versions, and on those of the current one
        "verdicts": verdicts,
        "version_verdicts": version_verdicts,
        "audit_verdicts": audit_verdicts,
        "spot_check_verdicts": spot_check_verdicts,
        "verdicts_text": _verdicts_text(spec.version if spec else None, version_verdicts, verdicts)
        + _further_text("audit samples", audit_verdicts)
        + _further_text("spot checks", spot_check_verdicts),
        # what the audits of the current version promise, as sentences
        "acceptance": _acceptance(session, spec) if spec else [],
        "under_way": ": ".join(
            filter(None, (f"{running.kind} {running.number}", batch_status.status_of(session, running)))
        )
        if running
        else "",
        "rounds": _count(session, study.id, BatchKind.ROUND),
        "runs": _count(session, study.id, BatchKind.RUN),
        "dataset_tasks": session.scalar(
            select(func.coalesce(func.sum(ShardRow.stop - ShardRow.start), 0))
            .join(BatchRow, BatchRow.id == ShardRow.batch_id)
            .where(BatchRow.study_id == study.id, BatchRow.kind == BatchKind.RUN, ShardRow.published_at.is_not(None))
        ),
        "problems": [
            *_reading_problems(session, study),
            *unreadable_tasks.problems_of(session, study.id),
            *inputs.missing(),
            *map(str, inputs.problems),
            *outbox_errors,
        ],
    }


def _acceptance(session: Session, spec: SpecRow) -> list[str]:
    stated = (audits.acceptance_of(session, spec.id), audits.threshold_acceptance_of(session, spec))
    return [each.sentence for each in stated if each is not None]


def _count_verdicts(session: Session, of_batches: ColumnElement[bool]) -> dict[str, int]:
    """Return opinion → number of verdicts that count, on the samples of batches that match a condition."""
    opinions = dict(
        session.execute(
            select(VerdictRow.opinion, func.count())
            .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(of_batches, verdict_sync.effective_verdicts())
            .group_by(VerdictRow.opinion)
        ).all()
    )
    return {"good": opinions.get(Opinion.GOOD, 0), "bad": opinions.get(Opinion.BAD, 0)}


def _verdicts_text(version: int | None, of_version: Mapping[str, int], of_study: Mapping[str, int]) -> str:
    if version is None:
        return "none"
    number = sum(of_version.values())
    detail = f" ({of_version['good']} good, {of_version['bad']} bad)" if number else ""
    return f"{number} on version {version}{detail}, {sum(of_study.values())} on all versions"


def _further_text(samples: str, of_these: Mapping[str, int]) -> str:
    """Return a clause on verdicts of samples that are no previews; "" if there are none."""
    number = sum(of_these.values())
    return f"; {number} on {samples} ({of_these['good']} good, {of_these['bad']} bad)" if number else ""


def _reading_problems(session: Session, study: StudyRow) -> list[str]:
    problem = reading_problem(session, study)
    return [f"reading the inputs {problem}"] if problem else []


def _count(session: Session, study_id: int, kind: BatchKind) -> int:
    return (
        session.scalar(
            select(func.count()).where(
                BatchRow.study_id == study_id, BatchRow.kind == kind, BatchRow.state == WorkState.DONE
            )
        )
        or 0
    )
