"""Proposals for annotators in the input projects. A worker makes them after inputs changed; the web process reads them.

The study's engine suggests outlines, areas and boxes (``Engine.suggester``). This module makes regions of them."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import delete, select

from datagen.domain.inputs import ConceptImage, Role
from datagen.domain.spec import Json
from datagen.errors import BadPicture
from datagen.label_studio.mapping.predictions import box_region, polygon_region, regions_prediction
from datagen.label_studio.mapping.regions import AREA
from datagen.store.tables.base import OutboxKind
from datagen.store.tables.inputs import InputRow, ProposalRow
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import FEWEST_PHOTOS, Engine, Suggester, load_engine
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.inputs.input_sync import canvas_of, concept_of, image_of
from datagen.workflow.leased_work import LeaseLost
from datagen.workflow.parameter_routing import select_parameters
from datagen.workflow.services import Services

log = structlog.get_logger()

#: Number of proposals that are stored in one transaction.
PROPOSALS_AT_A_TIME = 20
#: Time for which a job makes proposals, seconds. The next job makes the others.
PROPOSING_SECONDS = 300.0
#: Basis of the empty proposal of a concept photo whose drawing leaves nothing to propose.
_DRAWN = "drawn"


def propose(services: Services, pictures: StoredPictures, study_id: int, lost: threading.Event) -> bool:
    """Make the missing and outdated proposals of a study's tasks, for ``PROPOSING_SECONDS`` at most.

    Return True if none is left to make. Proposals are stored in small transactions.

    Raises:
        EngineError: the study's engine is not installed, or something that its parameters name cannot be used here.
        LeaseLost: ``lost`` was set.
    """
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        if study is None:
            return True  # it was deleted while the job waited
        rows = session.scalars(
            select(InputRow).where(InputRow.study_id == study_id, InputRow.digest.is_not(None))
        ).all()
        bases = dict(
            session.execute(
                select(ProposalRow.task_id, ProposalRow.basis).where(ProposalRow.study_id == study_id)
            ).all()
        )
    until = time.monotonic() + PROPOSING_SECONDS
    unstored: list[ProposalRow] = []
    engine = load_engine(study.engine, services.engine_settings)
    parameters = select_parameters(study.engine, services.engine_parameters)
    for row in _new_proposals(engine, parameters, pictures, study, rows, bases):
        if lost.is_set():
            raise LeaseLost
        unstored.append(row)
        is_late = time.monotonic() > until
        if len(unstored) == PROPOSALS_AT_A_TIME or is_late:
            _store(services, study_id, unstored)
            unstored = []
        if is_late:
            return False
    _store(services, study_id, unstored)
    return True


def _new_proposals(
    engine: Engine,
    parameters: Mapping[str, Json],
    pictures: StoredPictures,
    study: StudyRow,
    rows: Sequence[InputRow],
    bases: Mapping[int, str],
) -> Iterator[ProposalRow]:
    """Yield a row for each missing or outdated proposal. If a picture does not decode, its proposal is empty.

    ``bases`` is task id → ``ProposalRow.basis`` of the stored proposal.
    """
    concepts = [concept for row in rows if row.role is Role.CONCEPT and (concept := concept_of(row, study.labels)[0])]
    drawn = [(row, canvas) for row in rows if row.role is Role.CANVAS and (canvas := canvas_of(row, study.labels)[0])]
    backgrounds = [image_of(row) for row in rows if row.role is Role.BACKGROUND]
    suggester = engine.suggester(parameters, concepts, [canvas for _, canvas in drawn], backgrounds, pictures)
    engine_basis = (engine.name, engine.version, *([suggester.basis] if suggester.basis else []))
    without_outlines = {row.task_id: (row, concept) for row, concept in _tasks_without_outlines(study, rows)}
    for row, concept in without_outlines.values():
        basis = _basis(engine_basis, row.digest, row.parsed or row.result)
        if bases.get(row.task_id) != basis:
            yield _row(study.id, row, basis, _regions_or_none(row, partial(_outline_regions, suggester, concept)))
    for row in rows:
        is_drawn = row.role is Role.CONCEPT and row.answered and row.task_id not in without_outlines
        if is_drawn and bases.get(row.task_id, _DRAWN) != _DRAWN:  # the proposal was made before the task was answered
            yield _row(study.id, row, _DRAWN, [])
    if drawn:
        drawn_basis = _basis(
            engine_basis, *(part for row, _ in drawn for part in (row.digest, row.parsed or row.result))
        )
        for row in rows:
            if row.role is Role.CANVAS and not row.answered:
                basis = _basis(drawn_basis, row.digest)
                if bases.get(row.task_id) != basis:
                    yield _row(study.id, row, basis, _regions_or_none(row, partial(_area_regions, suggester, row)))
    yield from _new_boxes(suggester, engine_basis, study, rows, bases, concepts)


def _new_boxes(
    suggester: Suggester,
    engine_basis: Sequence[str],
    study: StudyRow,
    rows: Sequence[InputRow],
    bases: Mapping[int, str],
    concepts: Sequence[ConceptImage],
) -> Iterator[ProposalRow]:
    """Yield a row for each concept photo without an answer whose proposed boxes are missing or outdated.

    Boxes depend on all ``concepts`` drawn so far. They are made again each time that the number of photos with a label
    has doubled: to make them again after every drawing would take too long.
    """
    counts = Counter(label for concept in concepts for label in {region.label for region in concept.regions})
    levels = {label: 1 << (count.bit_length() - 1) for label, count in counts.items() if count >= FEWEST_PHOTOS}
    if not levels:
        return
    for row in rows:
        if row.role is Role.CONCEPT and not row.answered:
            basis = _basis(engine_basis, "boxes", levels, row.digest)
            if bases.get(row.task_id) != basis:
                yield _row(study.id, row, basis, _regions_or_none(row, partial(_box_regions, suggester, row)))


def _regions_or_none(row: InputRow, find: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the proposed regions of a task, which ``find`` returns.

    If the task's picture does not decode, return none, so that the proposal is not tried again and again.
    """
    try:
        return find()
    except BadPicture as problem:
        log.warning("proposal.not_made", study=row.study_id, task=row.task_id, reason=str(problem))
        return []


def _area_regions(suggester: Suggester, row: InputRow) -> list[dict[str, Any]]:
    """Return the proposed areas of a canvas."""
    return [
        polygon_region(f"a{number}", "canvas", AREA, area, row.width, row.height)
        for number, area in enumerate(suggester.area(image_of(row)))
    ]


def _box_regions(suggester: Suggester, row: InputRow) -> list[dict[str, Any]]:
    """Return the proposed boxes of a concept photo, each with its score."""
    return [
        {
            **box_region(f"p{number}", "concept", suggestion.label, suggestion.box, row.width, row.height),
            "score": round(suggestion.score, 4),
        }
        for number, suggestion in enumerate(suggester.boxes(image_of(row)))
    ]


def _store(services: Services, study_id: int, proposals: Sequence[ProposalRow]) -> None:
    """Store proposals and publish them through the outbox."""
    if not proposals:
        return
    with services.unit() as unit:
        unit.session.execute(
            delete(ProposalRow).where(ProposalRow.task_id.in_([proposal.task_id for proposal in proposals]))
        )
        unit.session.add_all(proposals)
        for proposal in proposals:
            unit.add_to_outbox(study_id, OutboxKind.PROPOSAL, proposal.task_id)


def _tasks_without_outlines(study: StudyRow, rows: Sequence[InputRow]) -> list[tuple[InputRow, ConceptImage]]:
    """Return the concept tasks that have a box without a manual outline."""
    tasks = []
    for row in rows:
        concept = concept_of(row, study.labels)[0] if row.role is Role.CONCEPT else None
        if concept is not None and any(not region.outline for region in concept.regions):
            tasks.append((row, concept))
    return tasks


def _outline_regions(suggester: Suggester, concept: ConceptImage) -> list[dict[str, Any]]:
    """Return the drawn boxes of a concept task, each with its proposed outline, as regions."""
    width, height = concept.image.width, concept.image.height
    regions: list[dict[str, Any]] = []
    for number, region in enumerate(suggester.outlines(concept)):
        regions.append(box_region(f"b{number}", "concept", region.label, region.box, width, height))
        regions += (
            polygon_region(f"b{number}o{part}", "outline", region.label, polygon, width, height)
            for part, polygon in enumerate(region.outline)
        )
    return regions


def _row(study_id: int, row: InputRow, basis: str, regions: list[dict[str, Any]]) -> ProposalRow:
    return ProposalRow(task_id=row.task_id, study_id=study_id, basis=basis, prediction=regions_prediction(regions))


def _basis(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
