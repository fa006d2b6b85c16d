"""What a study may set for itself, and what holds where it sets nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from datagen.store.tables import StudyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """A study's own options; None leaves one as it is."""

    #: a run of more images has to be confirmed
    confirm_above: int | None = None
    #: approving a round of which a smaller share was judged has to be confirmed, 0 to 1
    least_judged: float | None = None
    #: … and one of whose judged samples a smaller share is good, 0 to 1
    least_good: float | None = None
    #: runs of up to so many images get their labels as annotations in Label Studio, beside the predictions
    annotate_up_to: int | None = None


#: Label Studio imports tasks with annotations at about two thirds of the speed, and its exports hold them in memory.
DEFAULTS = StudyOptions(confirm_above=10_000, least_judged=0.5, least_good=0.5, annotate_up_to=10_000)


def keep(study: StudyRow, options: StudyOptions) -> None:
    """Write the options that are given into the study's row."""
    for name, value in asdict(options).items():
        if value is not None:
            setattr(study, name, value)


def options_of(study: StudyRow) -> StudyOptions:
    """A study's options, with the defaults where it has none of its own."""
    own = {name: getattr(study, name) for name in asdict(DEFAULTS)}
    return StudyOptions(
        **{name: default if own[name] is None else own[name] for name, default in asdict(DEFAULTS).items()}
    )
