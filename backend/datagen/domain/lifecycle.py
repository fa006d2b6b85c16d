"""The life of a study and of its spec versions, as one table: what may happen in which state, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from datagen.errors import Refused


class StudyState(StrEnum):
    """Where a study stands."""

    COLLECTING = "collecting"  #: inputs come in; no round is open
    PREVIEWING = "previewing"  #: a preview round is being synthesized
    REVIEWING = "reviewing"  #: a preview round is in Label Studio, waiting for verdicts and a decision
    GENERATING = "generating"  #: a generation run of an accepted version is under way
    ACCEPTED = "accepted"  #: a version is accepted and no run is under way
    STOPPED = "stopped"  #: somebody stopped it; building a preview opens it again


class SpecState(StrEnum):
    """Where a spec version stands."""

    RENDERING = "rendering"  #: its preview round is being synthesized
    REVIEW = "review"  #: its preview round waits for verdicts
    REFINED = "refined"  #: a child version took its place
    SUPERSEDED = "superseded"  #: a new version was built from the inputs instead
    ACCEPTED = "accepted"  #: frozen; only such a version generates
    FAILED = "failed"  #: its preview round could not be synthesized
    STOPPED = "stopped"  #: it was stopped before a decision


class StudyEvent(StrEnum):
    """What can happen to a study: a person's decision, or the end of work."""

    BUILD_PREVIEW = "build preview"  #: freeze the inputs as a new version and synthesize a round
    REFINE = "refine"  #: turn the verdicts into a child version and synthesize its round
    APPROVE = "approve"  #: accept the version and generate the bulk
    STOP = "stop"  #: end it here; running work is cancelled
    CANCEL = "cancel"  #: cancel the work under way, keep the study
    ROUND_READY = "round ready"  #: the round's review tasks are on their way
    ROUND_FAILED = "round failed"  #: the round could not be synthesized
    RUN_FINISHED = "run finished"  #: every shard of the run is done
    RUN_FAILED = "run failed"  #: a shard kept failing
    RETRY_ROUND = "retry round"  #: the round that failed last goes on where it stood
    RETRY_RUN = "retry run"  #: the run that failed last goes on where it stood


@dataclass(frozen=True, slots=True)
class Transition:
    """What follows: the study's next state, the current version's next state (None: as it is), a new version or not.

    ``back``: the version came to nothing, and the study has a state of its own only where no earlier one has a round:
    see ``back_to``.
    """

    study: StudyState
    spec: SpecState | None = None
    new_version: bool = False
    back: bool = False


_S, _V, _H = StudyState, SpecState, StudyEvent

#: (state, happening) → what follows. A pair that is not here is refused.
TABLE: dict[tuple[StudyState, StudyEvent], Transition] = {
    (_S.COLLECTING, _H.BUILD_PREVIEW): Transition(_S.PREVIEWING, new_version=True),
    (_S.COLLECTING, _H.STOP): Transition(_S.STOPPED),
    (_S.PREVIEWING, _H.ROUND_READY): Transition(_S.REVIEWING, _V.REVIEW),
    (_S.PREVIEWING, _H.ROUND_FAILED): Transition(_S.COLLECTING, _V.FAILED, back=True),
    (_S.PREVIEWING, _H.CANCEL): Transition(_S.COLLECTING, _V.STOPPED, back=True),
    (_S.PREVIEWING, _H.STOP): Transition(_S.STOPPED, _V.STOPPED),
    (_S.REVIEWING, _H.BUILD_PREVIEW): Transition(_S.PREVIEWING, _V.SUPERSEDED, new_version=True),
    (_S.REVIEWING, _H.REFINE): Transition(_S.PREVIEWING, _V.REFINED, new_version=True),
    (_S.REVIEWING, _H.APPROVE): Transition(_S.GENERATING, _V.ACCEPTED),
    (_S.REVIEWING, _H.STOP): Transition(_S.STOPPED, _V.STOPPED),
    (_S.GENERATING, _H.RUN_FINISHED): Transition(_S.ACCEPTED),
    (_S.GENERATING, _H.RUN_FAILED): Transition(_S.ACCEPTED),
    (_S.GENERATING, _H.CANCEL): Transition(_S.ACCEPTED),
    (_S.GENERATING, _H.STOP): Transition(_S.STOPPED),
    (_S.ACCEPTED, _H.BUILD_PREVIEW): Transition(_S.PREVIEWING, new_version=True),
    (_S.ACCEPTED, _H.REFINE): Transition(_S.PREVIEWING, new_version=True),
    (_S.ACCEPTED, _H.APPROVE): Transition(_S.GENERATING),
    (_S.ACCEPTED, _H.STOP): Transition(_S.STOPPED),
    (_S.STOPPED, _H.BUILD_PREVIEW): Transition(_S.PREVIEWING, new_version=True),
    # the failed version is the newest again, and the one that took its place stands behind it as before
    (_S.COLLECTING, _H.RETRY_ROUND): Transition(_S.PREVIEWING),
    (_S.REVIEWING, _H.RETRY_ROUND): Transition(_S.PREVIEWING, _V.SUPERSEDED),
    (_S.ACCEPTED, _H.RETRY_ROUND): Transition(_S.PREVIEWING),
    (_S.ACCEPTED, _H.RETRY_RUN): Transition(_S.GENERATING),
}


def back_to(earlier: SpecState) -> Transition:
    """Where a study stands again whose newest version came to nothing, by the state of the newest that has a round.

    An accepted version stays accepted. Any other takes verdicts again: what it was refined into, superseded or stopped
    for is not there.
    """
    if earlier is SpecState.ACCEPTED:
        return Transition(StudyState.ACCEPTED)
    return Transition(StudyState.REVIEWING, SpecState.REVIEW)


_WHY_NOT = {
    _S.COLLECTING: "no preview round has been made yet. Choose “build preview” first.",
    _S.PREVIEWING: "a preview round is being made. Wait for it, or cancel it.",
    _S.REVIEWING: "a preview round waits for review. Choose “refine”, “approve”, “build preview” or “stop”.",
    _S.GENERATING: "a generation run is under way. Wait for it, or cancel it.",
    _S.ACCEPTED: "nothing is under way. Choose “approve” for another run, “refine” or “build preview”.",
    _S.STOPPED: "the study is stopped. Choose “build preview” to open it again.",
}


def next_transition(state: StudyState, event: StudyEvent) -> Transition:
    """What follows when ``event`` meets a study in ``state``.

    Raises:
        Refused: the table has no such pair; the sentence says what can be done instead.
    """
    try:
        return TABLE[state, event]
    except KeyError:
        raise Refused(f"“{event}” is not possible now: {_WHY_NOT[state]}") from None
