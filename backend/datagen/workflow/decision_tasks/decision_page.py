"""The page of a decision task: the inputs and what is missing, a round's verdicts, a run's progress, and problems.

All text from outside is escaped, because names, comments and reasons come from people and files.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.decision import ACTIONS
from datagen.domain.inputs import MINIMUM_PER_ROLE, RECOMMENDED_BACKGROUNDS, Inputs, ProjectKind, Role
from datagen.domain.lifecycle import TABLE, SpecState, StudyEvent, StudyState
from datagen.domain.spec import Spec
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted, sentence_case, span
from datagen.store.tables import (
    BatchKind,
    BatchRow,
    DecisionRow,
    InputRow,
    OutboxRow,
    SampleRow,
    ShardRow,
    SpecRow,
    StudyRow,
    VerdictRow,
    WorkState,
    now,
)
from datagen.workflow import decision_points
from datagen.workflow.decision_tasks import decision_sheet
from datagen.workflow.decision_tasks.html_parts import (
    LONGEST_LIST,
    answer,
    bullets,
    first_of,
    fold,
    link,
    refusal,
    table,
    warning,
)
from datagen.workflow.decisions import spec_versions
from datagen.workflow.generation import batch_status, run_warnings
from datagen.workflow.inputs import input_changes, unreadable_tasks
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.reviews import late_verdicts, verdict_rows, verdict_sync
from datagen.workflow.sample_mapping import shown_number
from datagen.workflow.services import Services
from datagen.workflow.study_options import options_of

#: Prefills "Number of images" on the decision form.
SUGGESTED_COUNT = 200
#: Label Studio accepts an answer again only after its form was changed.
_ANSWER_AGAIN = (
    "Change the answer, then press <b>Update</b>. To try the same again, untick and tick the answer, then press "
    "<b>Update</b>."
)
#: Number of warnings about inputs, and of changes, that are shown unfolded; more would push the contact sheet off the
#: screen.
FEW_WARNINGS = 3
FEW_CHANGES = 6


@dataclass(frozen=True, slots=True)
class _EffectiveVerdict:
    """A verdict that counts, and the index of its sample."""

    opinion: Opinion
    reasons: list[str]
    comment: str
    index: int


def decision_data(session: Session, services: Services, decision: DecisionRow) -> dict[str, str]:
    """Return the data of a decision task: ``html``, ``sheet`` (an address), ``title``."""
    study, batch, started = decision.study, decision.batch, decision.started
    verdicts = _effective_verdicts(session, batch) if batch is not None and batch.kind == BatchKind.ROUND else ()
    parts = [f'<h2 style="margin:0 0 8px">{escape(study.name)} · decision {decision.number}</h2>']
    if decision.problem:
        parts.append(refusal(f"<b>Not done:</b> {escape(decision.problem)}"))
    if decision.action is None and (unreadable := unreadable_tasks.problems_of(session, study.id)):
        parts.append(refusal(bullets(unreadable)))
    if decision.action is not None:
        when = f"{decision.answered_at:%Y-%m-%d %H:%M} UTC" if decision.answered_at else ""
        parts.append(answer(f"<b>{escape(decision.action)}</b> by {escape(str(decision.answered_by))}, {when}"))
    if started is not None:
        parts.append(_progress(session, started, button="Update" if decision.answer else "Submit"))
    if batch is not None:
        parts.append(_round(session, batch, verdicts) if batch.kind == BatchKind.ROUND else _run(session, batch))
    inputs, missing = Inputs(), tuple[str, ...]()
    if decision.action is None:
        inputs = collect(session, study)
        if study.waits_for:
            parts.append(warning(f"Reading the inputs {escape(study.waits_for)}; it is tried again."))
        if missing := inputs.missing():
            parts.append(warning("<b>Missing:</b>" + bullets(missing)))
        parts.append(_possible_actions(study.state, missing, answered=bool(decision.answer)))
        parts += _input_changes(session, study, inputs)
    elif started is None or started.state != WorkState.RUNNING:
        parts += _next_decision(session, decision)
    parts += _late_verdicts(session, decision)
    if batch is not None and batch.kind == BatchKind.ROUND:
        parts.append(_round_details(session, batch, verdicts))
    if decision.action is None:
        parts.append(_inputs(session, study.id, inputs, unfolded=batch is None or bool(missing or inputs.problems)))
    parts.append(decision_sheet.caption_of(decision))
    return {
        "html": f'<div style="font-size:14px;line-height:1.4">{"".join(parts)}</div>',
        "sheet": services.links.make(decision_sheet.sheet_of(decision)),
        "title": _title(decision, verdicts),
    }


#: The outcome of a version, in the words of the decision about it.
_DECIDED = {
    SpecState.REFINED: "it was refined",
    SpecState.SUPERSEDED: "a preview was built anew",
    SpecState.ACCEPTED: "it was approved",
    SpecState.STOPPED: "the study was stopped",
    SpecState.FAILED: "it failed",
}


def _next_decision(session: Session, decision: DecisionRow) -> list[str]:
    """Return a link to the newest decision, if that is another one, and to the list in which later ones come first."""
    newest = decision_points.newest_decision(session, decision.study_id)
    if newest is None or newest.id == decision.id:
        return []
    project = decision_points.project_of(session, decision.study_id, ProjectKind.DECISIONS)
    newest_link = link(project, f"decision {newest.number}", newest.task_id)
    return [f"<p>Go on at {newest_link}; the newest decision task is the first in {link(project, 'Decisions')}.</p>"]


def _input_changes(session: Session, study: StudyRow, inputs: Inputs) -> list[str]:
    """Return a box that names the changes of the inputs since the current version was built, if there are any."""
    spec = spec_versions.current_spec(session, study.id)
    if spec is None or inputs.unread or study.state not in (StudyState.REVIEWING, StudyState.ACCEPTED):
        return []
    changes = input_changes.changes(Spec.from_json(spec.body), inputs)
    if not changes:
        return []
    return [
        warning(
            f"<b>The inputs changed since version {spec.version} was built:</b> {', '.join(changes)}. <b>refine</b> "
            f"and <b>approve</b> go on with the inputs of version {spec.version}; <b>build preview</b> makes a new "
            "version from the inputs as they are now."
        )
    ]


def _late_verdicts(session: Session, decision: DecisionRow) -> list[str]:
    """Return a box with a sentence for each round with late verdicts to show here, if there are any."""
    sentences = [
        f"{counted(late.count, 'verdict')} on round {late.round_number} came or changed after {_DECIDED[late.state]}; "
        f"{by_number(late.count, 'it is', 'they are')} kept, and {by_number(late.count, 'does', 'do')} not count."
        for late in late_verdicts.late(session, decision)
    ]
    return [warning(bullets(sentences))] if sentences else []


def _title(decision: DecisionRow, verdicts: Sequence[_EffectiveVerdict]) -> str:
    """Return the title in the list of decision tasks: the batch, its verdicts, and the decision."""
    parts = [f"Decision {decision.number}"]
    batch = decision.batch
    if batch is None:
        parts.append("inputs")
    elif batch.kind == BatchKind.RUN:
        size = f"{counted(batch.count, 'image')}, {batch.state}"
        parts.append(f"run “{batch.name}”, version {batch.spec.version}, {size}")
    else:
        good, images = _count_good(verdicts), len({verdict.index for verdict in verdicts})
        judged = f"{good} good, {len(verdicts) - good} bad of {batch.count}"
        if images != len(verdicts):
            judged = f"{good} good, {len(verdicts) - good} bad on {images} of {batch.count}"
        parts.append(f"round {batch.number}, version {batch.spec.version}, {judged}")
    if decision.action is not None:
        parts.append(str(decision.action))
    return " · ".join(parts)


def _possible_actions(state: StudyState, missing: Sequence[str], *, answered: bool) -> str:
    """Return the answers that the study's state allows, because the form always offers all answers."""
    possible = [
        f"<b>{action}</b>"
        for action in ACTIONS
        if (state, action) in TABLE and not (missing and action is StudyEvent.BUILD_PREVIEW)
    ]
    press = _ANSWER_AGAIN if answered else "Choose, press <b>Submit</b>, then reload this page to see what came of it."
    return f"<p>Possible now: {', '.join(possible)}. {press}</p>"


def _inputs(session: Session, study_id: int, inputs: Inputs, *, unfolded: bool) -> str:
    rows = [
        (
            link(decision_points.project_of(session, study_id, project_kind), str(role)),
            f"{inputs.count(role)}",
            f"at least {MINIMUM_PER_ROLE}"
            + (f", {RECOMMENDED_BACKGROUNDS} recommended" if role is Role.BACKGROUND else ""),
        )
        for project_kind in ProjectKind
        if (role := project_kind.role) is not None
    ]
    parts = [table(("images", "usable", "needed"), rows)]
    if advice := inputs.advice():
        parts.append(bullets(advice))
    parts += _unlabelled_images(session, study_id)
    if inputs.problems:
        parts.append("<b>Not used</b> (everything else is):" + bullets(map(str, inputs.problems)))
    counts = ", ".join(f"{inputs.count(role)} {role}" for role in Role)
    return fold(f"Inputs: {counts}", "".join(parts), unfolded=unfolded)


def _unlabelled_images(session: Session, study_id: int) -> list[str]:
    """Return a sentence about uploaded images without labels, if any; it is the only notice that they are unused."""
    counts = dict(
        session.execute(
            select(InputRow.role, func.count())
            .where(InputRow.study_id == study_id, InputRow.answered.is_(False), InputRow.role != Role.BACKGROUND)
            .group_by(InputRow.role)
        ).all()
    )
    named = [counted(counts[role], f"{role} image") for role in (Role.CONCEPT, Role.CANVAS) if role in counts]
    return [f"<p>Nothing is drawn yet on {' and '.join(named)}, so they are not used.</p>"] if named else []


def _round(session: Session, batch: BatchRow, verdicts: Sequence[_EffectiveVerdict]) -> str:
    """Return the part about a preview round: its version and verdicts, or the reason why it was not completed."""
    spec = session.get_one(SpecRow, batch.spec_id)
    head = f'<h3 style="margin:8px 0 4px">Preview round {batch.number}, version {spec.version}</h3>'
    if batch.state in (WorkState.FAILED, WorkState.CANCELLED):
        return head + refusal(escape(sentence_case(batch.problem)))
    deleted = _deleted_samples(session, batch)
    good = _count_good(verdicts)
    left = max(batch.count - len({verdict.index for verdict in verdicts} | deleted), 0)
    deleted_count = f", <b>{len(deleted)}</b> deleted" if deleted else ""
    is_open = verdict_sync.takes_verdicts(spec.state)
    left_text = "still to review" if is_open else "not reviewed"
    project = decision_points.project_of(session, batch.study_id, ProjectKind.PREVIEWS)
    review_link = link(project, "review them" if is_open and left else "Previews")
    if is_open and left:
        review_link += ": tab <b>To review now</b>, then <b>Label Tasks As Displayed</b>"
    parts = [
        head,
        f'<p style="margin:4px 0"><b>{good}</b> good, <b>{len(verdicts) - good}</b> bad, <b>{left}</b> {left_text}'
        f"{deleted_count} · {review_link}</p>",
    ]
    parts += _several_verdicts(batch, verdicts)
    for title, opinion in (("What was wrong", Opinion.BAD), ("Noted on good images, changes nothing", Opinion.GOOD)):
        if reasons := Counter(
            reason for verdict in verdicts if verdict.opinion == opinion for reason in verdict.reasons
        ):
            named = ", ".join(f"{name} ({count})" for name, count in reasons.most_common())
            parts.append(f'<p style="margin:4px 0">{title}: {escape(named)}</p>')
    if full := verdict_rows.full_samples(session, batch.id):
        numbers = [str(shown_number(batch, index)) for index in full]
        images = ", ".join(numbers[:LONGEST_LIST]) + (" and more" if len(full) > LONGEST_LIST else "")
        parts.append(
            refusal(
                f"Of image {images} the first {verdict_rows.MOST_VERDICTS} verdicts on its task, or on copies of it, "
                "are counted and no more. Delete copies of review tasks in the project Previews."
            )
        )
    if batch.problem:
        parts.append(refusal(escape(sentence_case(batch.problem))))
    return "".join(parts)


def _several_verdicts(batch: BatchRow, verdicts: Sequence[_EffectiveVerdict]) -> list[str]:
    """Return how verdicts count where an image has several, and the images on which they disagree."""
    opinions: dict[int, set[Opinion]] = {}
    for verdict in verdicts:
        opinions.setdefault(verdict.index, set()).add(verdict.opinion)
    if len(opinions) == len(verdicts):
        return []
    sentence = f"{counted(len(verdicts), 'verdict')} on {counted(len(opinions), 'image')}: each verdict counts."
    if disputed := [shown_number(batch, index) for index in sorted(opinions) if len(opinions[index]) > 1]:
        numbers = ", ".join(map(str, disputed[:LONGEST_LIST])) + (" and more" if len(disputed) > LONGEST_LIST else "")
        sentence += f" Good and bad at once: {by_number(len(disputed), 'image', 'images')} {numbers}."
    return [f'<p style="margin:4px 0">{sentence}</p>']


def _round_details(session: Session, batch: BatchRow, verdicts: Sequence[_EffectiveVerdict]) -> str:
    """Return the details of a round: the changes of its version, the reviewers' comments, the engine's findings."""
    spec = session.get_one(SpecRow, batch.spec_id)
    parts = []
    if spec.notes:
        is_first = spec.parent_id is None
        changes = first_of(spec.notes, FEW_CHANGES)
        parts.append(fold(f"What changed in version {spec.version}", changes, unfolded=not is_first))
    if comments := [
        f"image {shown_number(batch, verdict.index)}: {verdict.comment}" for verdict in verdicts if verdict.comment
    ]:
        parts.append(fold(f"Comments: {len(comments)}", bullets(comments)))
    lines = run_warnings.by_purpose(spec.findings)
    if lines.warnings:
        shown = first_of(lines.warnings, FEW_WARNINGS)
        parts.append(fold(f"Inputs to look at: {len(lines.warnings)}", shown, unfolded=True))
    if lines.findings or lines.details:
        details = fold("Methods and numbers", bullets(lines.details)) if lines.details else ""
        parts.append(fold("What was learned from the inputs", bullets(lines.findings) + details))
    return "".join(parts)


def _count_good(verdicts: Sequence[_EffectiveVerdict]) -> int:
    return sum(1 for verdict in verdicts if verdict.opinion == Opinion.GOOD)


def _effective_verdicts(session: Session, batch: BatchRow) -> list[_EffectiveVerdict]:
    """Return the verdicts on a round that count, in the samples' order."""
    rows = session.execute(
        select(VerdictRow.opinion, VerdictRow.reasons, VerdictRow.comment, SampleRow.index)
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .where(SampleRow.batch_id == batch.id, verdict_sync.effective_verdicts())
        .order_by(SampleRow.index)
    )
    return [_EffectiveVerdict(*row) for row in rows]


def _deleted_samples(session: Session, batch: BatchRow) -> set[int]:
    """Return the indices of a round's samples whose review task a person deleted."""
    query = (
        select(SampleRow.index)
        .join(ShardRow, ShardRow.id == SampleRow.shard_id)
        .where(SampleRow.batch_id == batch.id, SampleRow.task_id.is_(None), ShardRow.published_at.is_not(None))
    )
    return set(session.scalars(query))


def _run(session: Session, batch: BatchRow) -> str:
    project = decision_points.project_of(session, batch.study_id, ProjectKind.DATASET)
    published = _count_published(session, batch)
    published_of_all = f"{published:,} of {counted(batch.count, 'labelled image')}"
    parts = [
        f"<h3>Run “{escape(batch.name)}”: {escape(str(batch.state))}</h3>",
        f"<p>{published_of_all} {by_number(published, 'is', 'are')} in the {link(project, 'Dataset project')}. "
        f"Export: <code>datagen export {escape(shlex.quote(batch.study.name))} --out dataset.zip</code>"
        f"{_or_label_studios_export(batch)}</p>",
        *_warnings(batch),
    ]
    if batch.problem:
        parts.append(refusal(escape(sentence_case(batch.problem))))
    return "".join(parts)


def _or_label_studios_export(batch: BatchRow) -> str:
    """Return the hint at Label Studio's own export, which contains annotations only; empty for unannotated runs."""
    annotated = batch.count <= (options_of(batch.study).annotate_up_to or 0)
    return ", or <b>Export</b> in that project" if annotated else ""


def _progress(session: Session, batch: BatchRow, button: str) -> str:
    """Return the part about a batch's progress: the time left, the reason for a wait, and links to its samples.

    ``button`` is the name of Label Studio's button: “Update” on a task with an answer, else “Submit”.
    """
    stored, in_progress = _count_rendered(session, batch)
    rendered = stored + in_progress
    name = f"Preview round {batch.number}" if batch.kind == BatchKind.ROUND else f"Run “{escape(batch.name)}”"
    words = [f"{name}: {rendered:,} of {batch.count:,} synthesized, {batch.state}"]
    running = batch.state == WorkState.RUNNING
    status_text = batch_status.status_of(session, batch)
    if (
        running
        and not batch_status.is_waiting(status_text)
        and (left := _time_left(session, batch, rendered)) is not None
    ):
        words.append(f"about {span(left)} left")
    refused_because = session.scalar(
        select(OutboxRow.error).where(
            OutboxRow.study_id == batch.study_id, OutboxRow.state == WorkState.FAILED, OutboxRow.error != ""
        )
    )
    if running and status_text:
        words.append(escape(status_text))
    fitting = running and not rendered and batch.fit_progress > 0
    colour, share = ("#8ab4f8", batch.fit_progress) if fitting else ("#1a56b0", rendered / batch.count)
    bar = (
        '<div style="background:#ddd;border-radius:4px;height:10px;width:100%">'
        f'<div style="background:{colour};border-radius:4px;height:10px;width:{min(share, 1):.1%}"></div></div>'
    )
    parts = [f"<p>{', '.join(words)}</p>{bar}", *_warnings(batch)]
    project_kind, title = (
        (ProjectKind.PREVIEWS, "Previews") if batch.kind == BatchKind.ROUND else (ProjectKind.DATASET, "Dataset")
    )
    project = decision_points.project_of(session, batch.study_id, project_kind)
    if running:
        parts.append(
            f"<p>The images come into the project {link(project, title)}. Reload this page to see how far. "
            f"To end it, tick <b>cancel</b> in this task, then press <b>{button}</b>.</p>"
        )
    else:
        parts.append(f"<p>See the project {link(project, title)}.</p>")
    if batch.problem:
        parts.append(refusal(escape(sentence_case(batch.problem))))
    if refused_because:
        parts.append(refusal(f"Label Studio refused part of it: {escape(refused_because)}"))
    return "".join(parts)


def _warnings(batch: BatchRow) -> list[str]:
    return [warning(bullets(batch.warnings))] if batch.warnings else []


def _count_rendered(session: Session, batch: BatchRow) -> tuple[int, int]:
    """Return the number of stored samples, and the number of samples rendered so far in running shards."""
    stored, in_progress = session.execute(
        select(
            func.sum(ShardRow.stop - ShardRow.start).filter(ShardRow.rendered_at.is_not(None)),
            func.sum(ShardRow.rendered_count).filter(
                ShardRow.rendered_at.is_(None), ShardRow.state == WorkState.RUNNING
            ),
        ).where(ShardRow.batch_id == batch.id)
    ).one()
    return stored or 0, in_progress or 0


def _time_left(session: Session, batch: BatchRow, rendered: int) -> timedelta | None:
    """Return the estimated time for the remaining samples; None before the first shard is stored, and at the end.

    The estimate uses the rendering time of the stored shards only, because a batch may also have waited in the queue,
    for an outage, or for a fit.
    """
    seconds, images = session.execute(
        select(func.sum(ShardRow.seconds), func.sum(ShardRow.stop - ShardRow.start)).where(
            ShardRow.batch_id == batch.id, ShardRow.seconds.is_not(None)
        )
    ).one()
    if not images or seconds is None or rendered >= batch.count:
        return None
    running_shards = max(_count_running_shards(session, batch), 1)
    return timedelta(seconds=seconds / images * (batch.count - rendered) / running_shards)


def _count_running_shards(session: Session, batch: BatchRow) -> int:
    """Return the number of the batch's shards that a worker holds a lease on."""
    query = select(func.count()).where(
        ShardRow.batch_id == batch.id, ShardRow.state == WorkState.RUNNING, ShardRow.due_at > now()
    )
    return session.scalar(query) or 0


def _count_published(session: Session, batch: BatchRow) -> int:
    return (
        session.scalar(
            select(func.coalesce(func.sum(ShardRow.stop - ShardRow.start), 0)).where(
                ShardRow.batch_id == batch.id, ShardRow.published_at.is_not(None)
            )
        )
        or 0
    )
