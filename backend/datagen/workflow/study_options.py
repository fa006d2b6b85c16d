"""The options of a study and their defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from datagen.store.tables.studies import StudyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """A study's own options; None leaves an option unchanged."""

    #: a run of more images than this must be confirmed
    confirm_above: int | None = None
    #: approving a round with a smaller share of judged samples must be confirmed, 0 to 1
    min_judged: float | None = None
    #: approving a round with a smaller share of good samples among the judged ones must be confirmed, 0 to 1
    min_good: float | None = None
    #: runs of up to this many images get their labels as annotations in Label Studio, besides the predictions
    annotate_up_to: int | None = None


#: The default of ``annotate_up_to`` is limited because Label Studio imports tasks with annotations at about two thirds
#: of the speed, and its exports hold them in memory.
DEFAULTS = StudyOptions(confirm_above=10_000, min_judged=0.5, min_good=0.5, annotate_up_to=10_000)


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
