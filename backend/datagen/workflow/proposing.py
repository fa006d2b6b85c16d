"""Proposals shown to annotators at the input desks: made by a worker when inputs changed, looked up by the web process.

They are a convenience: a lost one is made again when the inputs are read the next time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select

from datagen.domain.inputs import ConceptImage, Role
from datagen.label_studio.predictions import box_region, polygon_region, regions_prediction
from datagen.label_studio.regions import AREA
from datagen.store.rows import InputRow, Notice, ProposalRow, StudyRow
from datagen.synthesis.proposals import learn_area, propose_areas, propose_outlines
from datagen.synthesis.templates import Templates
from datagen.workflow.inputs import canvas_of, concept_of, image_of
from datagen.workflow.pictures import StoredPictures
from datagen.workflow.workshop import Workshop


def propose(workshop: Workshop, pictures: StoredPictures, study_id: int) -> int:
    """Make the proposals of a study's tasks that lack them or changed; returns how many were made."""
    with workshop.database.read() as session:
        study = session.get_one(StudyRow, study_id)
        rows = session.scalars(
            select(InputRow).where(InputRow.study_id == study_id, InputRow.digest.is_not(None))
        ).all()
        bases = dict(
            session.execute(
                select(ProposalRow.task_id, ProposalRow.basis).where(ProposalRow.study_id == study_id)
            ).all()
        )
    made: list[ProposalRow] = []
    templates = Templates([image_of(row) for row in rows if row.role is Role.BACKGROUND], pictures)
    for row, concept in _outlined(study, rows):
        basis = _basis(row.digest, row.result)
        if bases.get(row.task_id) != basis:
            made.append(_row(study_id, row, basis, _outline_regions(concept, pictures, templates)))
    drawn = [(row, canvas) for row in rows if row.role is Role.CANVAS and (canvas := canvas_of(row, study.labels)[0])]
    blank = [row for row in rows if row.role is Role.CANVAS and not row.answered]
    learned = _basis(*(part for row, _ in drawn for part in (row.digest, row.result)))
    waiting = [row for row in blank if bases.get(row.task_id) != _basis(learned, row.digest)]
    model = learn_area([canvas for _, canvas in drawn], pictures) if waiting and drawn else None
    if model is not None:
        for row in waiting:
            areas = propose_areas(model, pictures.load(image_of(row)))
            regions = [
                polygon_region(f"a{number}", "canvas", AREA, area, row.width, row.height)
                for number, area in enumerate(areas)
            ]
            made.append(_row(study_id, row, _basis(learned, row.digest), regions))
    with workshop.unit() as unit:
        unit.session.execute(delete(ProposalRow).where(ProposalRow.task_id.in_([one.task_id for one in made])))
        unit.session.add_all(made)
        for one in made:
            unit.tell(study_id, Notice.PROPOSAL, one.task_id)
    return len(made)


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
