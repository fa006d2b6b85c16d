"""The state machine of a study and its spec versions, as one table of permitted events and their transitions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from datagen.errors import Refused


class StudyState(StrEnum):
    """The state of a study."""

    COLLECTING = "collecting"  #: inputs are collected; no round is open
    PREVIEWING = "previewing"  #: a preview round is being synthesized
    REVIEWING = "reviewing"  #: a preview round is in Label Studio, waiting for verdicts and a decision
    AUDITING = "auditing"  #: an audit of the version under review is being synthesized
    GENERATING = "generating"  #: a generation run of an accepted version is under way
    PAUSED = "paused"  #: a generation run is paused, by its spot checks or a person, and waits for a decision
    ACCEPTED = "accepted"  #: a version is accepted and no run is under way
    STOPPED = "stopped"  #: stopped by a user; building a preview reopens it


class SpecState(StrEnum):
    """The state of a spec version."""

    RENDERING = "rendering"  #: its preview round is being synthesized
    REVIEW = "review"  #: its preview round waits for verdicts
    REFINED = "refined"  #: replaced by a child version
    SUPERSEDED = "superseded"  #: replaced by a new version built from the inputs
    ACCEPTED = "accepted"  #: frozen; only an accepted version generates
    FAILED = "failed"  #: its preview round could not be synthesized
    STOPPED = "stopped"  #: it was stopped before a decision


class StudyEvent(StrEnum):
    """An event of a study: a user's decision, or the end of a job."""

    BUILD_PREVIEW = "build preview"  #: freeze the inputs as a new version and synthesize a round
    REFINE = "refine"  #: turn the verdicts into a child version and synthesize its round
    AUDIT = "audit"  #: synthesize further samples of the version, whose verdicts promise a share and train nothing
    APPROVE = "approve"  #: accept the version and start a generation run
    PAUSE = "pause"  #: begin no further shard of the run until it is resumed
    RESUME = "go on"  #: resume the paused run
    STOP = "stop"  #: stop the study; running work is cancelled
    CANCEL = "cancel"  #: cancel the work under way, keep the study
    ROUND_READY = "round ready"  #: the round is rendered and its review tasks are queued for Label Studio
    ROUND_FAILED = "round failed"  #: the round could not be synthesized
    AUDIT_READY = "audit ready"  #: the audit is rendered and its review tasks are queued for Label Studio
    AUDIT_FAILED = "audit failed"  #: the audit could not be synthesized
    ALARM = "alarm"  #: spot checks of the run contradict what its approval stated
    RUN_FINISHED = "run finished"  #: every shard of the run is done
    RUN_FAILED = "run failed"  #: a shard failed permanently
    RETRY_ROUND = "retry round"  #: resume the round that failed last
    RETRY_AUDIT = "retry audit"  #: resume the audit that failed last
    RETRY_RUN = "retry run"  #: resume the run that failed last


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition: the next state of the study (``study``) and of its current version (``spec``).

    ``spec`` is None if the version's state does not change. ``back`` is true if the transition abandons the current
    version. In that case ``study`` applies only if no earlier version has a round. If one has, ``back_to`` gives the
    study's next state.
    """

    study: StudyState
    spec: SpecState | None = None
    back: bool = False


_S, _V, _E = StudyState, SpecState, StudyEvent

#: (state, event) → transition. An event is refused in a state if the pair is missing.
TABLE: dict[tuple[StudyState, StudyEvent], Transition] = {
    (_S.COLLECTING, _E.BUILD_PREVIEW): Transition(_S.PREVIEWING),
    (_S.COLLECTING, _E.STOP): Transition(_S.STOPPED),
    (_S.PREVIEWING, _E.ROUND_READY): Transition(_S.REVIEWING, _V.REVIEW),
    (_S.PREVIEWING, _E.ROUND_FAILED): Transition(_S.COLLECTING, _V.FAILED, back=True),
    (_S.PREVIEWING, _E.CANCEL): Transition(_S.COLLECTING, _V.STOPPED, back=True),
    (_S.PREVIEWING, _E.STOP): Transition(_S.STOPPED, _V.STOPPED),
    (_S.REVIEWING, _E.BUILD_PREVIEW): Transition(_S.PREVIEWING, _V.SUPERSEDED),
    (_S.REVIEWING, _E.REFINE): Transition(_S.PREVIEWING, _V.REFINED),
    (_S.REVIEWING, _E.AUDIT): Transition(_S.AUDITING),
    (_S.REVIEWING, _E.APPROVE): Transition(_S.GENERATING, _V.ACCEPTED),
    (_S.REVIEWING, _E.STOP): Transition(_S.STOPPED, _V.STOPPED),
    # the version under review stays under review during and after its audit
    (_S.AUDITING, _E.AUDIT_READY): Transition(_S.REVIEWING),
    (_S.AUDITING, _E.AUDIT_FAILED): Transition(_S.REVIEWING),
    (_S.AUDITING, _E.CANCEL): Transition(_S.REVIEWING),
    (_S.AUDITING, _E.STOP): Transition(_S.STOPPED, _V.STOPPED),
    (_S.GENERATING, _E.RUN_FINISHED): Transition(_S.ACCEPTED),
    (_S.GENERATING, _E.RUN_FAILED): Transition(_S.ACCEPTED),
    (_S.GENERATING, _E.CANCEL): Transition(_S.ACCEPTED),
    (_S.GENERATING, _E.STOP): Transition(_S.STOPPED),
    (_S.GENERATING, _E.PAUSE): Transition(_S.PAUSED),
    (_S.GENERATING, _E.ALARM): Transition(_S.PAUSED),
    # a run that a person paused waits because of the alarm from then on
    (_S.PAUSED, _E.ALARM): Transition(_S.PAUSED),
    (_S.PAUSED, _E.RESUME): Transition(_S.GENERATING),
    (_S.PAUSED, _E.CANCEL): Transition(_S.ACCEPTED),
    (_S.PAUSED, _E.STOP): Transition(_S.STOPPED),
    (_S.ACCEPTED, _E.BUILD_PREVIEW): Transition(_S.PREVIEWING),
    (_S.ACCEPTED, _E.REFINE): Transition(_S.PREVIEWING),
    (_S.ACCEPTED, _E.APPROVE): Transition(_S.GENERATING),
    (_S.ACCEPTED, _E.STOP): Transition(_S.STOPPED),
    (_S.STOPPED, _E.BUILD_PREVIEW): Transition(_S.PREVIEWING),
    # the failed version becomes the newest again, and the version that replaced it is superseded again
    (_S.COLLECTING, _E.RETRY_ROUND): Transition(_S.PREVIEWING),
    (_S.REVIEWING, _E.RETRY_ROUND): Transition(_S.PREVIEWING, _V.SUPERSEDED),
    (_S.ACCEPTED, _E.RETRY_ROUND): Transition(_S.PREVIEWING),
    (_S.REVIEWING, _E.RETRY_AUDIT): Transition(_S.AUDITING),
    (_S.ACCEPTED, _E.RETRY_RUN): Transition(_S.GENERATING),
}


def back_to(earlier: SpecState) -> Transition:
    """Return the transition of a study whose newest version was abandoned.

    ``earlier`` is the state of the newest version that has a round. An accepted version stays accepted. Any other
    version returns to review, because the version that was to replace it was abandoned.
    """
    if earlier is SpecState.ACCEPTED:
        return Transition(StudyState.ACCEPTED)
    return Transition(StudyState.REVIEWING, SpecState.REVIEW)


_WHY_NOT = {
    _S.COLLECTING: "no preview round has been made yet. Choose “build preview” first.",
    _S.PREVIEWING: "a preview round is being made. Wait for it, or cancel it.",
    _S.REVIEWING: ("a preview round waits for review. Choose “refine”, “audit”, “approve”, “build preview” or “stop”."),
    _S.AUDITING: "an audit is being made. Wait for it, or cancel it.",
    _S.GENERATING: "a generation run is under way. Wait for it, or pause or cancel it.",
    _S.PAUSED: "the generation run is paused. Choose “go on”, “cancel” or “stop”.",
    _S.ACCEPTED: "nothing is under way. Choose “approve” for another run, “refine” or “build preview”.",
    _S.STOPPED: "the study is stopped. Choose “build preview” to open it again.",
}


def next_transition(state: StudyState, event: StudyEvent) -> Transition:
    """Return the transition for ``event`` in ``state``.

    Raises:
        Refused: the table has no such pair; the message names the possible actions.
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise Refused(f"“{event}” is not possible now: {_WHY_NOT[state]}") from None
