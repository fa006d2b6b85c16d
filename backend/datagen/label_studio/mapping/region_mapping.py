"""Mapping of another project's regions to annotations of a study's project, with its controls, labels and numbers.

Every result is built from known fields, so that no other content of a foreign annotation is sent to Label Studio."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datagen.domain.geometry import Box, check_corners
from datagen.domain.inputs import ProjectKind
from datagen.errors import BadRegion
from datagen.label_studio.mapping import brush_masks
from datagen.label_studio.mapping.region_conversion import convert
from datagen.label_studio.mapping.region_limits import Allowance
from datagen.label_studio.mapping.region_parts import labels_of
from datagen.label_studio.mapping.region_shapes import corner, upright_extent
from datagen.label_studio.mapping.regions import AREA, canvas_areas, concept_regions

#: Maximum number of regions imported for one image.
MAX_REGIONS = 1_000
_WORDS = {"rectanglelabels": "box", "polygonlabels": "polygon", "brushlabels": "brush mask"}
#: Decimal places of a percentage in a mapped region.
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """An annotation for a study's project, mapped from another project."""

    results: tuple[dict[str, Any], ...]
    #: a sentence for each unusable region
    problems: tuple[str, ...] = ()
    scaled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNames:
    """A study's labels, and the aliases of other projects' labels."""

    labels: tuple[str, ...]
    #: label of another project → one of ``labels``
    aliases: Mapping[str, str]

    def known(self, project_kind: ProjectKind) -> tuple[str, ...]:
        """The labels that regions of a project kind may have in the study."""
        return (AREA, *self.labels) if project_kind is ProjectKind.CANVASES else self.labels

    def chosen(self, given: Sequence[str], project_kind: ProjectKind) -> str:
        """The study's label for the labels ``given`` of a region.

        An equal label or an alias takes precedence. Otherwise a label is chosen that is equal if only letters and
        digits count, and case does not.

        Raises:
            BadRegion: There is none; the message names the study's labels.
        """
        known = self.known(project_kind)
        for name in given:
            if name in known:
                return name
            if (alias := self.aliases.get(name)) in known:
                return str(alias)
        for name in given:
            alike = [label for label in known if _normalized(label) == _normalized(name)]
            if len(alike) == 1:
                return alike[0]
        if not given:
            raise BadRegion("it has no label; choose one")
        raise BadRegion(
            f"the study has no label “{given[0]}” (it has: {', '.join(known)}); if it means one of these, "
            f"add --label '{given[0]}={known[0]}'"
        )


def map_regions(result: Any, project_kind: ProjectKind, width: int, height: int, names: LabelNames) -> Mapped:
    """The annotation of an image, mapped to a project kind. Each region is checked with the reader of this kind.

    ``width`` and ``height`` are those of the image in pixels.
    """
    left = Allowance()
    converted = convert(result, project_kind, width, height, left)
    if project_kind is ProjectKind.BACKGROUNDS:
        return Mapped(results=tuple({**answer, "id": digest(answer)} for answer in converted.results))
    problems = list(converted.problems)
    results: dict[str, dict[str, Any]] = {}
    numbers: dict[str, int] = {}
    for raw in converted.results:
        if len(results) >= MAX_REGIONS:
            problems.append(f"annotation: it has more than {MAX_REGIONS:,} regions; the rest is not used.")
            break
        given = labels_of(raw["value"], str(raw["type"])) if isinstance(raw.get("value"), Mapping) else ()
        word = _WORDS[str(raw["type"])]
        numbers[word] = numbers.get(word, 0) + 1
        named = f"{word} {numbers[word]}" + (f" (“{given[0]}”)" if given else "")
        try:
            region = _rebuilt(raw, names.chosen(given, project_kind), width, height)
        except BadRegion as problem:
            problems.append(f"{named}: {problem}.")
            continue
        read = concept_regions if project_kind is ProjectKind.CONCEPTS else canvas_areas
        _, refused = read([region], width, height, names.labels, left)
        if refused:
            problems.append(f"{named}: {refused[0].rpartition('”): ')[2]}")
        else:
            results.setdefault(str(region["id"]), region)
    return Mapped(results=tuple(results.values()), problems=tuple(problems), scaled=converted.scaled)


def digest(result: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits of a hash of what a result draws.

    Equal regions have equal digests, whatever their origin.
    """
    value = result.get("value")
    drawn = {key: _rounded(entry) for key, entry in value.items()} if isinstance(value, Mapping) else {}
    content = [result.get("from_name"), {key: drawn[key] for key in sorted(drawn, key=str) if key not in _UNDRAWN}]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode("utf-8", "replace")).hexdigest()[:10]


def boxes_of(
    results: Sequence[Any], project_kind: ProjectKind, width: int, height: int, labels: Sequence[str]
) -> list[Any]:
    """The label and the box of each readable region. They serve to find regions that mark the same object."""
    if project_kind is ProjectKind.CONCEPTS:
        regions, _ = concept_regions(results, width, height, labels)
        return [(region.label, region.box) for region in regions]
    areas, _ = canvas_areas(results, width, height, labels)
    return [(area.label, area.polygon.bounds) for area in areas]


def overlap(box: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    across = min(box.right, other.right) - max(box.x, other.x)
    down = min(box.bottom, other.bottom) - max(box.y, other.y)
    shared = max(across, 0.0) * max(down, 0.0)
    union = box.area + other.area - shared
    return shared / union if union > 0 else 0.0


_UNDRAWN = frozenset({"closed", "format"})


def _rebuilt(raw: Mapping[str, Any], label: str, width: int, height: int) -> dict[str, Any]:
    """A result with only the known fields of ``raw``, and with this label.

    Raises:
        BadRegion: A field is missing or cannot be used.
    """
    kind, value = str(raw["type"]), raw.get("value")
    if not isinstance(value, Mapping):
        raise BadRegion("it has no value; draw it again")
    if raw.get("image_rotation") not in (None, 0, 360):
        raise BadRegion("it was drawn on the picture turned round; turn the picture back and draw it again")
    kept: dict[str, Any]
    match kind:
        case "rectanglelabels":
            extent = upright_extent(value, width, height)
            kept = {name: round(number, _DIGITS) for name, number in extent.items()}
        case "polygonlabels":
            kept = {"points": _points(value.get("points")), "closed": True}
        case _:
            kept = {"format": "rle", "rle": list(brush_masks.bytes_of(value.get("rle")))}
    result = {
        "from_name": raw["from_name"],
        "to_name": "image",
        "type": kind,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**kept, kind: [label]},
    }
    return {"id": digest(result), **result}


def _points(points: Any) -> list[list[float]]:
    """The corners [x, y] of a polygon in percent.

    Raises:
        BadRegion: There are none, or one cannot be used.
    """
    if not isinstance(points, list):
        raise BadRegion("the polygon has no corners; draw it again")
    check_corners(len(points))
    return [[round(number, _DIGITS) for number in corner(point)] for point in points]


def _rounded(value: Any) -> Any:
    """A value with its numbers rounded to a thousandth, so that values which are nearly equal become equal."""
    if isinstance(value, bool) or not isinstance(value, int | float | list | tuple):
        return value
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return round(float(value), 3) if math.isfinite(value) else str(value)


def _normalized(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
