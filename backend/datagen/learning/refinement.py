"""Refinement: the parameters of the next version, by the verdicts on all rounds of the study, and the changes in words.

The engine decides what verdicts change beside its draws (``Engine.refine``). Of the draws, the posterior of what
reviewers accept becomes the parameter ``preference``. It is computed anew from the verdicts that exist: nothing is
added up from version to version, and a verdict that is changed changes the next refinement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from datagen.domain.spec import Json
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.errors import EngineError
from datagen.learning.changes import changes_in_words
from datagen.learning.posterior import Posterior, drawn, learn
from datagen.synthesis.engine import Engine, Refinement, ReviewedSample

#: The parameter that holds what was learned.
PREFERENCE = "preference"
#: Verdicts without which nothing is concluded.
LEAST_VERDICTS = 3

Round = Sequence[ReviewedSample]


def refine_for(engine: Engine, parameters: Mapping[str, Json], rounds: Sequence[Round]) -> Refinement:
    """Return the parameters of the child spec of any engine, checked by the engine's own model.

    Args:
        engine: the engine of the judged spec.
        parameters: parameters of the judged spec.
        rounds: the reviewed samples of each round of the study with this engine, the oldest first; the last one is the
            judged spec's, and may be empty.

    Raises:
        EngineError: the engine does not accept the given parameters, or the parameters that it returned itself.
    """
    newest = rounds[-1] if rounds else ()
    own = engine.refine(parameters, newest)
    refinement = _with_preference(engine, own, rounds)
    if engine.parameters_model is not None:
        try:
            engine.parameters_model.from_json(refinement.parameters)
        except EngineError as wrong:
            raise EngineError(
                f"the engine “{engine.name}” refined its parameters to what it does not take: {wrong}. Report it to "
                "the maker of its package, or build a preview"
            ) from wrong
    return refinement


def _with_preference(engine: Engine, own: Refinement, rounds: Sequence[Round]) -> Refinement:
    newest = rounds[-1] if rounds else ()
    judged = [sample for each in rounds for sample in each]
    if not engine.learnable:
        if own.notes:
            return own
        note = (
            f"The engine “{engine.name}” has no setting that verdicts change: the next round shows new samples with "
            "the same settings."
        )
        return Refinement(parameters=own.parameters, notes=(note,))
    if not judged:
        note = (
            "No preview was judged before this refinement: the parameters stay as they were, and the new round shows "
            "new samples."
        )
        return Refinement(parameters=own.parameters, notes=(note, *own.notes))
    usable = [sample for sample in judged if drawn(engine.learnable, sample)]
    posterior = learn(engine.learnable, judged) if len(usable) >= LEAST_VERDICTS else None
    notes = [*_about(judged, newest), *_ticked(newest), *_unusable(judged, usable)]
    if posterior is None:
        notes.append(
            f"Nothing could be concluded yet: {counted(len(usable), 'verdict')} {by_number(len(usable), 'is', 'are')} "
            f"on samples that record their draws, and at least {LEAST_VERDICTS} are needed. The next round shows new "
            "samples with the same settings."
        )
        return Refinement(parameters=own.parameters, notes=(*notes, *own.notes, *_noted_on_good(newest)))
    if all(sample.verdict.opinion is Opinion.GOOD for sample in judged):
        return Refinement(parameters=own.parameters, notes=(*notes, *own.notes, *_noted_on_good(newest)))
    parameters = {**own.parameters, PREFERENCE: posterior.preference().model_dump(exclude_defaults=True)}
    notes += _learned(posterior, engine, judged)
    return Refinement(parameters=parameters, notes=(*notes, *own.notes, *_noted_on_good(newest)))


def _about(judged: Round, newest: Round) -> list[str]:
    """Return sentences about verdicts that all agree, or are missing."""
    if not newest:
        return [f"The newest round has no verdict: the {counted(len(judged), 'verdict')} on earlier rounds decide."]
    bad = [sample for sample in judged if sample.verdict.opinion is Opinion.BAD]
    if not bad:
        every = f"All {counted(len(judged), 'verdict')} are good" if len(judged) > 1 else "The one verdict is good"
        return [f"{every}: the look stays as it was, and the new round shows new samples."]
    notes = []
    if len(bad) == len(judged):
        every = f"All {counted(len(judged), 'verdict')} are bad" if len(judged) > 1 else "The one verdict is bad"
        notes.append(
            f"{every}, so that no draw is known to be wanted: the next round draws from farther away. Good verdicts on "
            "the best of its images teach most; if none can be good, other concept photos or canvases are needed."
        )
    if not any(sample.verdict.reasons for sample in bad):
        notes.append(
            f"{len(bad)} of {counted(len(judged), 'verdict')} {by_number(len(bad), 'is', 'are')} bad, without a "
            "reason: what is wrong was inferred from what the samples were drawn with. Choose what is wrong with each "
            "bad one, and fewer verdicts are needed."
        )
    return notes


def _ticked(newest: Round) -> list[str]:
    """Return the count of each reason on the bad images of the newest round, as a sentence."""
    counts = Counter(r for s in newest if s.verdict.opinion is Opinion.BAD for r in s.verdict.reasons)
    if not counts:
        return []
    given = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0].value))
    parts = [f"{count} {by_number(count, 'says', 'say')} “{reason.value}”" for reason, count in given[1:]]
    reason, count = given[0]
    first = f"{count} of {counted(len(newest), 'verdict')} {by_number(count, 'says', 'say')} “{reason.value}”"
    return [", ".join([first, *parts]) + "."]


def _unusable(judged: Round, usable: Round) -> list[str]:
    missing = len(judged) - len(usable)
    if not missing:
        return []
    return [
        f"{counted(missing, 'verdict')} {by_number(missing, 'is', 'are')} on samples of an earlier release, which "
        "does not record their draws, and teach nothing about them."
    ]


def _learned(posterior: Posterior, engine: Engine, judged: Round) -> list[str]:
    notes = changes_in_words(posterior, engine.learnable, judged)
    if not notes:
        notes = [
            f"Nothing could be concluded yet from {counted(posterior.verdicts, 'verdict')}: no draw clearly tells good "
            "samples from bad ones. The next round prefers what looks best so far, and shows new samples."
        ]
    return notes


def _noted_on_good(judged: Round) -> list[str]:
    """Return a sentence about reasons on good previews, if there are any."""
    count = sum(1 for sample in judged if sample.verdict.opinion is Opinion.GOOD and sample.verdict.reasons)
    if not count:
        return []
    return [
        f"What is ticked on {counted(count, 'good image')} changes nothing; to have it corrected, call the image bad."
    ]
