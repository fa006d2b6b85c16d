"""Proposals shown to annotators at the input desks: made by a worker when inputs changed, looked up by the web process.

They are a convenience: a lost one is made again when the inputs are read the next time.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import delete, select

from datagen.domain.inputs import ConceptImage, Role
from datagen.errors import BadPicture
from datagen.label_studio.mapping.predictions import box_region, polygon_region, regions_prediction
from datagen.label_studio.mapping.regions import AREA
from datagen.store.tables import InputRow, OutboxKind, ProposalRow, StudyRow
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.composite.placement.area_model import AreaModel
from datagen.synthesis.composite.suggestions import learn_area, propose_areas, propose_outlines
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.inputs.input_sync import canvas_of, concept_of, image_of
from datagen.workflow.services import JobKind, Services

log = structlog.get_logger()

#: Proposals that one transaction stores.
PROPOSALS_AT_A_TIME = 20
#: One job makes no more proposals after this, seconds; another goes on.
PROPOSING_SECONDS = 300.0


def propose(services: Services, pictures: StoredPictures, study_id: int) -> int:
    """Make the proposals of a study's tasks that lack them or changed; returns how many were made.

    They are stored a few at a time; after a while the rest is left to another job.
    """
    with services.database.read() as session:
        study = session.get_one(StudyRow, study_id)
        rows = session.scalars(
            select(InputRow).where(InputRow.study_id == study_id, InputRow.digest.is_not(None))
        ).all()
        bases = dict(
            session.execute(
                select(ProposalRow.task_id, ProposalRow.basis).where(ProposalRow.study_id == study_id)
            ).all()
        )
    until = time.monotonic() + PROPOSING_SECONDS
    made = 0
    waiting: list[ProposalRow] = []
    for row in _made(pictures, study, rows, bases):
        waiting.append(row)
        made += 1
        is_late = time.monotonic() > until
        if len(waiting) == PROPOSALS_AT_A_TIME or is_late:
            _store(services, study_id, waiting, remedy=is_late)
            waiting = []
        if is_late:
            return made
    _store(services, study_id, waiting)
    return made


def _made(
    pictures: StoredPictures, study: StudyRow, rows: Sequence[InputRow], bases: Mapping[int, str]
) -> Iterator[ProposalRow]:
    """The proposals that are to be made, one after the other; a picture that does not decode costs its own alone."""
    templates = Templates([image_of(row) for row in rows if row.role is Role.BACKGROUND], pictures)
    for row, concept in _outlined(study, rows):
        basis = _basis(row.digest, row.parsed or row.result)
        if bases.get(row.task_id) != basis:
            regions = _or_none(row, partial(_outline_regions, concept, pictures, templates))
            yield _row(study.id, row, basis, regions)
    drawn = [(row, canvas) for row in rows if row.role is Role.CANVAS and (canvas := canvas_of(row, study.labels)[0])]
    blank = [row for row in rows if row.role is Role.CANVAS and not row.answered]
    learned = _basis(*(part for row, _ in drawn for part in (row.digest, row.parsed or row.result)))
    waiting = [row for row in blank if bases.get(row.task_id) != _basis(learned, row.digest)]
    model = learn_area([canvas for _, canvas in drawn], pictures) if waiting and drawn else None
    if model is None:
        return
    for row in waiting:
        yield _row(
            study.id, row, _basis(learned, row.digest), _or_none(row, partial(_area_regions, row, model, pictures))
        )


def _or_none(row: InputRow, find: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What is proposed for a task; nothing where a picture does not decode, so that it is not tried again for ever."""
    try:
        return find()
    except BadPicture as problem:
        log.warning("proposal.not_made", study=row.study_id, task=row.task_id, reason=str(problem))
        return []


def _area_regions(row: InputRow, model: AreaModel, pictures: StoredPictures) -> list[dict[str, Any]]:
    """The areas that are proposed for a canvas."""
    areas = propose_areas(model, pictures.load(image_of(row)))
    return [
        polygon_region(f"a{number}", "canvas", AREA, area, row.width, row.height) for number, area in enumerate(areas)
    ]


def _store(services: Services, study_id: int, made: Sequence[ProposalRow], *, remedy: bool = False) -> None:
    """Write proposals, and have Label Studio told where it shows older ones; ``remedy`` queues the making of others."""
    if not made:
        return
    with services.unit() as unit:
        unit.session.execute(delete(ProposalRow).where(ProposalRow.task_id.in_([one.task_id for one in made])))
        unit.session.add_all(made)
        for one in made:
            unit.add_to_outbox(study_id, OutboxKind.PROPOSAL, one.task_id)
        if remedy:
            unit.enqueue_after_commit(JobKind.PROPOSALS, study_id)


def _outlined(study: StudyRow, rows: Sequence[InputRow]) -> list[tuple[InputRow, ConceptImage]]:
    """The concept tasks with boxes that nobody outlined by hand."""
    found = []
    for row in rows:
        if row.role is Role.CONCEPT:
            concept, _ = concept_of(row, study.labels)
            if concept is not None and any(not region.outline for region in concept.regions):
                found.append((row, concept))
    return found


def _outline_regions(concept: ConceptImage, pictures: StoredPictures, templates: Templates) -> list[dict[str, Any]]:
    """The boxes as they were drawn, each with the outline found in it: ready to be corrected and submitted."""
    width, height = concept.image.width, concept.image.height
    regions: list[dict[str, Any]] = []
    for number, one in enumerate(propose_outlines(concept, pictures.load(concept.image), templates)):
        regions.append(box_region(f"b{number}", "concept", one.label, one.box, width, height))
        regions += (
            polygon_region(f"b{number}o{part}", "outline", one.label, polygon, width, height)
            for part, polygon in enumerate(one.outline)
        )
    return regions


def _row(study_id: int, row: InputRow, basis: str, regions: list[dict[str, Any]]) -> ProposalRow:
    return ProposalRow(task_id=row.task_id, study_id=study_id, basis=basis, prediction=regions_prediction(regions))


def _basis(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
