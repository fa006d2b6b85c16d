"""Parsed annotation results of inputs: domain values and problems. They are stored as text in the row of the input.

Parsing polygons is slow, so a result is parsed only once, before a transaction begins. Reading the row is then fast.
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
from datagen.store.tables.inputs import InputRow

#: Largest number of characters of a problem; longer ones are cut.
_LONGEST_PROBLEM = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A parsed annotation: ``regions`` of a concept image, ``areas`` of a canvas, or ``used`` for a background."""

    regions: tuple[ConceptRegion, ...] = ()
    areas: tuple[CanvasArea, ...] = ()
    used: bool = True
    #: a sentence for each region that cannot be used
    problems: tuple[str, ...] = ()


def parse(role: Role, result: Sequence[Any], width: int, height: int, labels: Sequence[str]) -> Parsed:
    """Parse an annotation's result for a picture of ``width`` by ``height`` pixels."""
    match role:
        case Role.CONCEPT:
            regions, problems = concept_regions(result, width, height, labels)
            return Parsed(regions=regions, problems=_truncated(problems))
        case Role.CANVAS:
            areas, problems = canvas_areas(result, width, height, labels)
            return Parsed(areas=areas, problems=_truncated(problems))
        case Role.BACKGROUND:
            return Parsed(used=background_use(result))


def to_text(parsed: Parsed) -> str:
    """Return the text for the ``parsed`` column of a row."""
    return json.dumps(asdict(parsed), separators=(",", ":"))


def of_row(row: InputRow, labels: Sequence[str]) -> Parsed:
    """Return the parsed result of an input's row. A row of an earlier version is parsed here, with limits."""
    if row.parsed is None:
        return parse(row.role, row.result, row.width, row.height, labels)
    body = json.loads(row.parsed)
    return Parsed(
        regions=tuple(map(ConceptRegion.from_json, body["regions"])),
        areas=tuple(map(CanvasArea.from_json, body["areas"])),
        used=body["used"],
        problems=tuple(body["problems"]),
    )


def _truncated(problems: Sequence[str]) -> tuple[str, ...]:
    return tuple(plain(problem[:_LONGEST_PROBLEM]) for problem in problems)
