"""The options of a study and their defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from datagen.domain.verdict import VerdictRule
from datagen.store.tables.studies import StudyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """A study's own options; None leaves an option unchanged."""

    #: largest number of images of a run that need not be confirmed
    confirm_above: int | None = None
    #: smallest share of judged samples in a round whose approval need not be confirmed, 0 to 1
    min_judged: float | None = None
    #: smallest share of good verdicts among the verdicts on a round whose approval need not be confirmed, 0 to 1
    min_good: float | None = None
    #: largest number of images of a run whose labels are published as annotations, too, and not only as predictions
    annotate_up_to: int | None = None
    #: which verdicts on a sample count if there are several
    verdict_rule: VerdictRule | None = None
    #: probability of a good verdict below which the critic rejects samples, of versions refined from now on; 0: never
    reject_below: float | None = None


#: The options of a study that sets none. ``annotate_up_to`` is not larger for two reasons: Label Studio imports tasks
#: with annotations at about two thirds of the speed, and its exports hold the annotations in memory.
DEFAULTS = StudyOptions(
    confirm_above=10_000,
    min_judged=0.5,
    min_good=0.5,
    annotate_up_to=10_000,
    verdict_rule=VerdictRule.EACH,
    reject_below=0.2,
)


def keep(study: StudyRow, options: StudyOptions) -> None:
    """Write the given options into the study's row."""
    for name, value in asdict(options).items():
        if value is not None:
            setattr(study, name, value)


def options_of(study: StudyRow) -> StudyOptions:
    """Return a study's options, with the default of each option that it does not set."""
    own = {name: getattr(study, name) for name in asdict(DEFAULTS)}
    return StudyOptions(
        **{name: default if own[name] is None else own[name] for name, default in asdict(DEFAULTS).items()}
    )
