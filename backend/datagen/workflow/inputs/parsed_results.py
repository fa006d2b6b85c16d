"""What was drawn on an input, as domain values and sentences: worked out once, and kept as text in the input's row.

Working out polygons takes time, so it is done before a transaction begins; a row is read without any geometry.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import CanvasArea, ConceptRegion, Role
from datagen.label_studio.mapping.form_answers import background_use
from datagen.label_studio.mapping.regions import canvas_areas, concept_regions
from datagen.store.tables import InputRow

#: A sentence is cut to this many characters.
_LONGEST_PROBLEM = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What an annotation says: ``regions`` of a concept or ``areas`` of a canvas; whether a background is used."""

    regions: tuple[ConceptRegion, ...] = ()
    areas: tuple[CanvasArea, ...] = ()
    used: bool = True
    #: a sentence for each region that cannot be used
    problems: tuple[str, ...] = ()


def parse(role: Role, result: Sequence[Any], width: int, height: int, labels: Sequence[str]) -> Parsed:
    """Work out what an annotation's result says about a picture of ``width`` by ``height`` pixels."""
    match role:
        case Role.CONCEPT:
            regions, problems = concept_regions(result, width, height, labels)
            return Parsed(regions=regions, problems=_cut(problems))
        case Role.CANVAS:
            areas, problems = canvas_areas(result, width, height, labels)
            return Parsed(areas=areas, problems=_cut(problems))
        case Role.BACKGROUND:
            return Parsed(used=background_use(result))


def to_text(parsed: Parsed) -> str:
    """The text of a row's ``parsed``."""
    return json.dumps(asdict(parsed), separators=(",", ":"))


def of_row(row: InputRow, labels: Sequence[str]) -> Parsed:
    """What an input's row says; of a row that an earlier version wrote it is worked out here, with bounded work."""
    if row.parsed is None:
        return parse(row.role, row.result, row.width, row.height, labels)
    body = json.loads(row.parsed)
    return Parsed(
        regions=tuple(map(ConceptRegion.from_json, body["regions"])),
        areas=tuple(map(CanvasArea.from_json, body["areas"])),
        used=body["used"],
        problems=tuple(body["problems"]),
    )


def _cut(problems: Sequence[str]) -> tuple[str, ...]:
    return tuple(plain(problem[:_LONGEST_PROBLEM]) for problem in problems)
