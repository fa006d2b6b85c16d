"""Outlines that reviewers corrected on previews, and the examples that those previews were made from.

An engine that uses corrections cuts the examples of the next version out along them, and tells so. For other engines
the decision page and the notes of the child version name the example whose outline to draw. The labels of the samples
on which the outlines were corrected do not change: samples never do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.trace import ConceptChoice
from datagen.domain.wording import by_number, counted
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.reviews import VerdictRow
from datagen.synthesis.engine import uses_corrections
from datagen.workflow import decision_points
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.reviews.corrected_instances import corrected_instances, instance_of
from datagen.workflow.sample_mapping import sample_of, shown_number

#: Format of an example's key: the beginning of its photo's digest, and the index of its box.
_KEY_PATTERN = re.compile(r"([0-9a-f]+):(\d{1,6})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedImage:
    """An image of a round, and its review task."""

    #: its number in the round, counted from 1
    number: int
    #: the id of its review task; None if a person deleted the task
    task_id: int | None
    #: the Previews project; None before provisioning
    project_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An example of the concept."""

    photo: str
    #: the number of its box in the photo, counted from 1; None if the engine does not record it
    box: int | None
    #: the id of its task, and the Concepts project; each is None if there is none
    task_id: int | None
    project_id: int | None

    def __str__(self) -> str:
        return f"“{self.photo}”" + (f", box {self.box}" if self.box is not None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """The outlines that reviewers corrected in those verdicts on a round that count."""

    outlines: int
    images: tuple[ReviewedImage, ...]
    #: the examples whose outlines were corrected; empty if the engine does not record them
    examples: tuple[Example, ...]
    #: number of the outlines that overlap no synthesized object
    without_object: int
    #: whether *refine* uses them
    are_used: bool
    engine: str


def corrections_of(session: Session, batch: BatchRow) -> Corrections | None:
    """Return the corrections on a round; None if there are none."""
    rows = session.execute(
        select(SampleRow.id, SampleRow.index, SampleRow.task_id, VerdictRow.outlines, VerdictRow.kept_outlines)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == batch.id, verdict_sync.effective_verdicts())
        .order_by(SampleRow.index, VerdictRow.annotation_id)
    ).all()
    corrected = [row for row in rows if row.outlines]
    if not corrected:
        return None
    previews = decision_points.project_of(session, batch.study_id, ProjectKind.PREVIEWS)
    images = [
        ReviewedImage(number=shown_number(batch, index), task_id=task_id, project_id=previews)
        for _, index, task_id, *_ in corrected
    ]
    choices: list[ConceptChoice] = []
    without_object = 0
    for sample_id, _, _, outlines, kept in corrected:
        sample = sample_of(session.get_one(SampleRow, sample_id))
        without_object += sum(1 for outline in outlines if instance_of(sample, outline) is None)
        traces = sample.provenance.trace.instances
        for instance in corrected_instances(sample, outlines, kept):
            choice = traces[instance.instance].concept if instance.instance < len(traces) else None
            choices += [choice] if choice is not None else []
    engine = str(batch.spec.body["engine"])
    return Corrections(
        outlines=sum(len(row.outlines) for row in corrected),
        images=tuple(dict.fromkeys(images)),
        examples=tuple(_example(session, batch.study_id, choice) for choice in dict.fromkeys(choices)),
        without_object=without_object,
        are_used=uses_corrections(engine),
        engine=engine,
    )


def sentence(corrections: Corrections) -> str:
    """Return sentences about corrections that the notes of the engine's refinement lack; empty if there are none.

    They tell about every corrected object if the engine uses corrections.
    """
    if corrections.are_used:
        count = corrections.without_object
        overlap = f"{counted(count, 'corrected outline')} {by_number(count, 'overlaps', 'overlap')}"
        return f"{overlap} no synthesized object, and {by_number(count, 'is', 'are')} not used." if count else ""
    numbers = [str(image.number) for image in corrections.images]
    return (
        f"{counted(corrections.outlines, 'outline')} {by_number(corrections.outlines, 'was', 'were')} corrected "
        f"({by_number(len(numbers), 'image', 'images')} {_listed(numbers)}). The engine "
        f"“{corrections.engine}” does not use corrections: draw "
        f"{by_number(corrections.outlines, 'that outline', 'those outlines')} on "
        f"{_examples_text(corrections.examples)} in the project Concepts, and build a preview."
    )


def _examples_text(examples: Sequence[Example]) -> str:
    if not examples:
        return "the examples"
    return f"the {by_number(len(examples), 'example', 'examples')} {_listed([*map(str, examples)], '; ')},"


def _listed(items: Sequence[str], comma: str = ", ") -> str:
    return comma.join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1]


def _example(session: Session, study_id: int, choice: ConceptChoice) -> Example:
    key = _KEY_PATTERN.fullmatch(choice.key)
    query = select(InputRow.task_id).where(
        InputRow.study_id == study_id, InputRow.role == Role.CONCEPT, InputRow.name == choice.name
    )
    if key is not None:
        query = query.where(InputRow.digest.startswith(key.group(1)))
    return Example(
        photo=choice.name,
        box=int(key.group(2)) + 1 if key is not None else None,
        task_id=session.scalar(query.order_by(InputRow.task_id).limit(1)),
        project_id=decision_points.project_of(session, study_id, ProjectKind.CONCEPTS),
    )
