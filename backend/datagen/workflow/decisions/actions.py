"""The rows that each decision writes: a new version and its preview round, an audit, a run, or the end of work."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.decision import Decision
from datagen.domain.inputs import Inputs
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.domain.spec import Json, Spec
from datagen.domain.verdict import VerdictRule
from datagen.domain.wording import counted
from datagen.errors import Refused
from datagen.learning.critic import learn_critic
from datagen.learning.refinement import refine_for
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import load_engine
from datagen.synthesis.parameter_words import listed
from datagen.workflow import decision_points
from datagen.workflow.decisions import batch_end, spec_versions
from datagen.workflow.decisions.transitions import advance, go_back
from datagen.workflow.reviews import audits, corrections, verdict_sync
from datagen.workflow.services import UnitOfWork
from datagen.workflow.study_options import options_of


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A new version's spec, computed before the transaction that adds it: learning and a digest take seconds."""

    parent_id: int | None
    spec: Spec
    #: of *refine*: the changes as sentences
    notes: Sequence[str] = ()
    #: the study's verdicts and options that it was computed from; see ``_verdicts_of``
    verdicts: tuple[int, VerdictRule | None, float | None]


@dataclass(frozen=True, kw_only=True)
class DecisionContext:
    """All values that carrying out one decision needs, inside one transaction."""

    unit: UnitOfWork
    study: StudyRow
    wish: Decision
    who: str
    #: the study's inputs; used by *build preview* only
    inputs: Inputs
    shard_size: int
    #: number of samples of an audit for which no number is given
    audit_size: int
    #: parameters from the current settings, for all engines together
    engine_parameters: Mapping[str, Json]
    #: the new version's spec; None for a decision that creates no version
    prepared: Prepared | None = None


def prepare(
    session: Session, study: StudyRow, wish: Decision, inputs: Inputs, engine_parameters: Mapping[str, Json]
) -> Prepared | None:
    """Compute the spec of the version that a decision is about to add; None if it adds no version.

    If the study changes before the decision is carried out, the spec is computed again.

    Raises:
        EngineError: there is no such engine, or a given parameter belongs to no engine.
    """
    if wish.action not in (StudyEvent.BUILD_PREVIEW, StudyEvent.REFINE):
        return None
    verdicts = _verdicts_of(study)  # before the verdicts themselves, which may be changed meanwhile
    parent = spec_versions.current_spec(session, study.id)
    version = spec_versions.next_version(session, study.id)
    notes: Sequence[str] = ()
    if wish.action is StudyEvent.BUILD_PREVIEW:
        parameters = spec_versions.parameters_for(study, parent, engine_parameters)
        spec = spec_versions.spec_from_inputs(study, parent, inputs, version, parameters)
    elif parent is not None:
        spec, notes = _refined(session, study, parent, version)
    else:
        return None
    assert spec.digest  # computes and caches the digest and the body
    return Prepared(parent_id=parent.id if parent else None, spec=spec, notes=notes, verdicts=verdicts)


def apply(case: DecisionContext) -> BatchRow | None:
    """Carry out the decision, and return the round, audit or run that it started, or the run that it paused or resumed.

    Raises:
        Refused: the state of the study does not allow the decision.
    """
    return _ACTIONS[case.wish.action](case)


def _build_preview(case: DecisionContext) -> BatchRow:
    parent = advance(case.unit, case.study, StudyEvent.BUILD_PREVIEW, case.who)
    version = spec_versions.next_version(case.unit.session, case.study.id)
    parameters = spec_versions.parameters_for(case.study, parent, case.engine_parameters)
    spec = _prepared(case, parent, parameters, version)
    if spec is None or spec.engine != case.study.engine:
        spec = spec_versions.spec_from_inputs(case.study, parent, case.inputs, version, parameters)
    note = (
        f"Built from {counted(len(spec.concepts), 'concept image')}, {counted(len(spec.canvases), 'canvas image')} "
        f"and {counted(len(spec.backgrounds), 'background image')}."
    )
    notes = [note]
    if parent is not None and (kept := listed(name for name in spec.parameters if name in parent.body["parameters"])):
        notes.append(f"The settings of version {parent.version} are kept, with what was refined: {kept}.")
    start = case.study.starting_point
    if parent is None and start is not None and start["engine"] == spec.engine:
        kept = listed(name for name in spec.parameters if name in start["parameters"])
        notes.append(f"It begins with the settings of {start['origin']}" + (f": {kept}." if kept else "."))
    return _add_round(case, spec, parent, notes)


def _refine(case: DecisionContext) -> BatchRow:
    parent = advance(case.unit, case.study, StudyEvent.REFINE, case.who)
    if parent is None:
        raise Refused("“refine” needs a preview round with verdicts; choose “build preview” first.")
    version = spec_versions.next_version(case.unit.session, case.study.id)
    prepared = case.prepared
    if (
        prepared is not None
        and (prepared.parent_id, prepared.spec.seed) == (parent.id, version)
        and prepared.verdicts == _verdicts_of(case.study)
    ):
        return _add_round(case, prepared.spec, parent, prepared.notes)
    spec, notes = _refined(case.unit.session, case.study, parent, version)
    return _add_round(case, spec, parent, notes)


def _verdicts_of(study: StudyRow) -> tuple[int, VerdictRule | None, float | None]:
    """Return values that differ if what is learned from the verdicts on a study's rounds differs, or may."""
    options = options_of(study)
    return study.verdict_changes, options.verdict_rule, options.reject_below


def _refined(session: Session, study: StudyRow, parent: SpecRow, version: int) -> tuple[Spec, list[str]]:
    """Return the spec of a version refined by the verdicts so far, and the changes as sentences.

    The verdicts are those on all rounds of the study with the version's engine; the version's newest round is the last.
    """
    reviewed = session.scalars(
        select(BatchRow)
        .where(BatchRow.spec_id == parent.id, BatchRow.kind == BatchKind.ROUND)
        .order_by(BatchRow.number.desc())
    ).first()
    engine, before = str(parent.body["engine"]), parent.body["parameters"]
    rounds = [verdict_sync.judged(session, batch_id) for batch_id in _earlier_rounds(session, parent, reviewed)]
    rounds.append(verdict_sync.judged(session, reviewed.id) if reviewed is not None else [])
    loaded = load_engine(engine)
    refined = refine_for(loaded, before, rounds)
    judged = [sample for each in rounds for sample in each]
    learned = learn_critic(loaded.learnable, judged, options_of(study).reject_below or 0.0)
    notes = [*refined.notes, *learned.notes]
    corrected = corrections.corrections_of(session, reviewed) if reviewed is not None else None
    if corrected is not None and (sentence := corrections.sentence(corrected)):
        notes.append(sentence)
    critic = learned.critic.to_json() if learned.critic is not None else None
    spec = replace(Spec.from_json(parent.body), parameters=refined.parameters, seed=version, critic=critic)
    return spec, notes


def _earlier_rounds(session: Session, parent: SpecRow, newest: BatchRow | None) -> list[int]:
    """Return the other rounds of the study that were made with the version's engine, the oldest first."""
    rows = session.execute(
        select(BatchRow.id, SpecRow.body["engine"].as_string())
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(BatchRow.study_id == parent.study_id, BatchRow.kind == BatchKind.ROUND)
        .order_by(BatchRow.number)
    )
    return [
        batch_id
        for batch_id, engine in rows
        if engine == parent.body["engine"] and (newest is None or batch_id != newest.id)
    ]


def _prepared(
    case: DecisionContext, parent: SpecRow | None, parameters: Mapping[str, Json], version: int
) -> Spec | None:
    """Return the spec that ``prepare`` computed; None if the study has changed since then."""
    if case.prepared is None or case.prepared.parent_id != (parent.id if parent else None):
        return None
    spec = case.prepared.spec
    return spec if (spec.seed, spec.parameters) == (version, parameters) else None


def _audit(case: DecisionContext) -> BatchRow:
    spec = advance(case.unit, case.study, StudyEvent.AUDIT, case.who)
    if spec is None:
        raise Refused("“audit” needs a preview round; choose “build preview” first.")
    size = case.wish.checked_audit_count(case.audit_size)
    request = spec_versions.BatchRequest(kind=BatchKind.AUDIT, count=size, who=case.who)
    # one shard, as a round has
    return spec_versions.add_batch(case.unit, case.study, spec, request, shard_size=size)


def _approve(case: DecisionContext) -> BatchRow:
    spec = advance(case.unit, case.study, StudyEvent.APPROVE, case.who)
    if spec is None:
        raise Refused("“approve” needs a preview round; choose “build preview” first.")
    request = spec_versions.BatchRequest(
        kind=BatchKind.RUN, count=case.wish.checked_count(), who=case.who, name=case.wish.name, note=case.wish.note
    )
    run = spec_versions.add_batch(case.unit, case.study, spec, request, case.shard_size)
    run.warnings = _same_name(case.unit.session, run)
    audited = audits.acceptance_of(case.unit.session, spec.id)
    run.promise = audited.to_json() if audited is not None else None
    return run


def _pause(case: DecisionContext) -> BatchRow:
    advance(case.unit, case.study, StudyEvent.PAUSE, case.who)
    run = spec_versions.running_batch(case.unit.session, case.study.id)
    if run is None:
        raise Refused("“pause” needs a run that is under way.")
    batch_end.pause_by_person(case.unit, run, case.who, case.wish.note)
    return run


def _resume(case: DecisionContext) -> BatchRow:
    advance(case.unit, case.study, StudyEvent.RESUME, case.who)
    run = spec_versions.running_batch(case.unit.session, case.study.id)
    if run is None:
        raise Refused("“go on” needs a paused run; go on at the newest decision task.")
    batch_end.resume(case.unit, run, case.shard_size)
    return run


def _same_name(session: Session, run: BatchRow) -> list[str]:
    """Return a warning if an earlier run of the study has the run's name."""
    number = session.scalar(
        select(func.max(BatchRow.number)).where(
            BatchRow.study_id == run.study_id,
            BatchRow.kind == BatchKind.RUN,
            BatchRow.name == run.name,
            BatchRow.id != run.id,
        )
    )
    if number is None:
        return []
    return [
        f"Note: run {number} has the name “{run.name}” too. This is run {run.number}: the lists of Dataset and "
        f"“datagen export {shlex.quote(run.study.name)} --run {run.number} --out run{run.number}.zip” tell them apart "
        "by the number."
    ]


def _end(case: DecisionContext) -> None:
    advance(case.unit, case.study, case.wish.action, case.who)
    running = spec_versions.running_batch(case.unit.session, case.study.id)
    if running is not None:
        batch_end.cancel(case.unit, running, f"cancelled by {case.who}")
        decision_points.republish_decisions(case.unit, running)
    if case.study.state is StudyState.REVIEWING:  # an audit was cancelled
        decision_points.create_decision_point(case.unit, case.study)
    if case.study.state is StudyState.COLLECTING and go_back(case.unit, case.study) is not None:
        decision_points.create_decision_point(case.unit, case.study)


_ACTIONS: dict[StudyEvent, Callable[[DecisionContext], BatchRow | None]] = {
    StudyEvent.BUILD_PREVIEW: _build_preview,
    StudyEvent.REFINE: _refine,
    StudyEvent.AUDIT: _audit,
    StudyEvent.APPROVE: _approve,
    StudyEvent.PAUSE: _pause,
    StudyEvent.RESUME: _resume,
    StudyEvent.CANCEL: _end,
    StudyEvent.STOP: _end,
}


def _add_round(case: DecisionContext, spec: Spec, parent: SpecRow | None, notes: Sequence[str]) -> BatchRow:
    """Add a version and its preview round, and return the round.

    The round has one shard, so that one job has all samples for the contact sheet.
    """
    row = spec_versions.add_version(case.unit, case.study, spec, parent=parent, who=case.who, notes=notes)
    size = case.study.preview_size
    request = spec_versions.BatchRequest(kind=BatchKind.ROUND, count=size, who=case.who)
    return spec_versions.add_batch(case.unit, case.study, row, request, shard_size=size)
