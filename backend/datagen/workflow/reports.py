"""What a decision task shows: inputs and what is missing, the round's verdicts, a run's progress, what went wrong.

All text from outside is escaped: names, comments and reasons come from people and files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from html import escape

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import MINIMUM_PER_ROLE, RECOMMENDED_BACKGROUNDS, Desk, Inputs, Role
from datagen.domain.verdict import Opinion
from datagen.store.rows import (
    BatchKind,
    BatchRow,
    DecisionRow,
    OutboxRow,
    SampleRow,
    ShardRow,
    SpecRow,
    VerdictRow,
    WorkState,
    now,
)
from datagen.workflow import points
from datagen.workflow.inputs import collect
from datagen.workflow.sheets import notice_sheet
from datagen.workflow.workshop import Workshop

#: Prefills "Number of images" on the decision form.
SUGGESTED_COUNT = 200
#: Of a long list this many items are shown, and then how many more there are.
LONGEST_LIST = 12


def decision_data(session: Session, workshop: Workshop, decision: DecisionRow) -> dict[str, str]:
    """The data of a decision task: ``html``, ``sheet`` (an address), ``title``."""
    study, batch, started = decision.study, decision.batch, decision.started
    parts = [f"<h2>{escape(study.name)} · decision {decision.number}</h2>"]
    if decision.problem:
        parts.append(_box("#fdecea", "#b3261e", f"<b>Not done:</b> {escape(decision.problem)}"))
    if decision.action is not None:
        when = f"{decision.answered_at:%Y-%m-%d %H:%M} UTC" if decision.answered_at else ""
        parts.append(
            _box(
                "#e8f0fe", "#1a56b0", f"<b>{escape(decision.action)}</b> by {escape(str(decision.answered_by))}, {when}"
            )
        )
    if started is not None:
        parts.append(_progress(session, started))
    if batch is not None:
        parts.append(_batch(session, batch))
    if decision.action is None:
        parts.append(_inputs(collect(session, study)))
        parts.append("<p>Choose what happens next, then <b>Submit</b>.</p>")
    sheet = started.sheet if started is not None and started.sheet else batch.sheet if batch is not None else None
    if sheet is None:
        text = "The dataset is in the Dataset project." if batch is not None else "No preview round yet."
        sheet = notice_sheet(workshop.images, text)
    return {
        "html": f'<div style="font-family:sans-serif;line-height:1.45">{"".join(parts)}</div>',
        "sheet": workshop.links.make(sheet),
        "title": f"Decision {decision.number}" + (f": {decision.action}" if decision.action else ""),
    }


def _inputs(inputs: Inputs) -> str:
    rows = [
        (
            str(role),
            f"{inputs.count(role)}",
            f"at least {MINIMUM_PER_ROLE}"
            + (f", {RECOMMENDED_BACKGROUNDS} recommended" if role is Role.BACKGROUND else ""),
        )
        for role in Role
    ]
    parts = ["<h3>Inputs</h3>", _table(("images", "usable", "needed"), rows)]
    if missing := inputs.missing():
        parts.append(_box("#fff4e5", "#8a5300", "<b>Missing:</b>" + _list(missing)))
    if advice := inputs.advice():
        parts.append(_list(advice))
    if inputs.problems:
        parts.append("<b>Not used</b> (everything else is):" + _list(map(str, inputs.problems)))
    return "".join(parts)


def _batch(session: Session, batch: BatchRow) -> str:
    return _round(session, batch) if batch.kind == BatchKind.ROUND else _run(session, batch)


def _round(session: Session, batch: BatchRow) -> str:
    """A preview round: its version, what changed, what the engine found, what was said of it."""
    spec = session.get_one(SpecRow, batch.spec_id)
    project = points.project_of(session, batch.study_id, Desk.PREVIEWS)
    parts = [
        f"<h3>Preview round {batch.number}, version {spec.version}</h3><p>{_link_to_project(project, 'review it')}</p>"
    ]
    if batch.problem:
        parts.append(_box("#fdecea", "#b3261e", escape(batch.problem)))
    said = session.execute(
        select(VerdictRow.opinion, VerdictRow.reasons, VerdictRow.comment, SampleRow.index)
        .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
        .where(SampleRow.batch_id == batch.id, VerdictRow.late.is_(False))
        .order_by(SampleRow.index)
    ).all()
    reviewed = len({row.index for row in said})
    good = sum(1 for row in said if row.opinion == Opinion.GOOD)
    parts.append(
        _table(
            ("good", "bad", "still to review"),
            [(str(good), str(len(said) - good), str(max(batch.count - reviewed, 0)))],
        )
    )
    reasons = Counter(reason for row in said for reason in row.reasons)
    if reasons:
        parts.append(
            "Reasons given: " + escape(", ".join(f"{name} ({count})" for name, count in reasons.most_common()))
        )
    if comments := [f"{row.index}: {row.comment}" for row in said if row.comment]:
        parts.append("<p><b>Comments</b></p>" + _list(comments))
    if spec.notes:
        parts.append("<p><b>What changed in this version</b></p>" + _list(spec.notes))
    if spec.findings:
        parts.append("<p><b>What the engine found</b></p>" + _list(spec.findings))
    return "".join(parts)


def _run(session: Session, batch: BatchRow) -> str:
    project = points.project_of(session, batch.study_id, Desk.DATASET)
    made = _published(session, batch)
    parts = [
        f"<h3>Run “{escape(batch.name)}”: {escape(str(batch.state))}</h3>",
        f"<p>{made:,} of {batch.count:,} labelled images are in the {_link_to_project(project, 'Dataset project')}. "
        f"Export: <code>datagen export {escape(repr(batch.study.name))} --out dataset.zip</code></p>",
    ]
    if batch.problem:
        parts.append(_box("#fdecea", "#b3261e", escape(batch.problem)))
    return "".join(parts)


def _progress(session: Session, batch: BatchRow) -> str:
    """How far a batch is and how long it has left; why it stands still, if it does."""
    made = _rendered(session, batch)
    share = made / batch.count
    words = [
        f"{batch.kind} {batch.number} “{escape(batch.name)}”: {made:,} of {batch.count:,} synthesized, {batch.state}"
    ]
    if batch.state == WorkState.RUNNING and made:
        spent = now() - batch.requested_at
        words.append(f"about {_span(spent * (1 / share - 1))} left")
    waiting = session.scalar(
        select(OutboxRow.error).where(
            OutboxRow.study_id == batch.study_id, OutboxRow.state == WorkState.FAILED, OutboxRow.error != ""
        )
    )
    bar = (
        '<div style="background:#ddd;border-radius:4px;height:10px;width:100%">'
        f'<div style="background:#1a56b0;border-radius:4px;height:10px;width:{share:.1%}"></div></div>'
    )
    parts = [f"<p>{', '.join(words)}</p>{bar}"]
    if batch.problem:
        parts.append(_box("#fdecea", "#b3261e", escape(batch.problem)))
    if waiting:
        parts.append(_box("#fdecea", "#b3261e", f"Label Studio refused part of it: {escape(waiting)}"))
    return "".join(parts)


def _rendered(session: Session, batch: BatchRow) -> int:
    return (
        session.scalar(
            select(func.coalesce(func.sum(ShardRow.stop - ShardRow.start), 0)).where(
                ShardRow.batch_id == batch.id, ShardRow.rendered_at.is_not(None)
            )
        )
        or 0
    )


def _published(session: Session, batch: BatchRow) -> int:
    return (
        session.scalar(
            select(func.coalesce(func.sum(ShardRow.stop - ShardRow.start), 0)).where(
                ShardRow.batch_id == batch.id, ShardRow.published_at.is_not(None)
            )
        )
        or 0
    )


def _span(left: timedelta) -> str:
    seconds = int(left.total_seconds())
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _link_to_project(project_id: int | None, text: str) -> str:
    return f'<a href="/projects/{project_id}/data" target="_blank">{escape(text)}</a>' if project_id else escape(text)


def _box(background: str, colour: str, html: str) -> str:
    style = f"background:{background};color:{colour};border-radius:6px;padding:8px 12px;margin:8px 0"
    return f'<div style="{style}">{html}</div>'


def _list(items: Iterable[str]) -> str:
    lines = [escape(item) for item in items]
    more = [f"… and {len(lines) - LONGEST_LIST} more"] if len(lines) > LONGEST_LIST else []
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines[:LONGEST_LIST] + more) + "</ul>"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    style = 'style="padding:2px 14px 2px 0;text-align:left"'
    cells = "".join(f"<th {style}>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td {style}>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"
