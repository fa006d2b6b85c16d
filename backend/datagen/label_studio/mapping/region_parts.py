"""The results of an annotation of any project as regions: nested and textual lists read, labels joined to their shapes.

Label Studio writes a region of ``RectangleLabels`` as one result, and a region of ``Rectangle`` with ``Labels`` as two
results with one id. Nothing here knows a study's controls: see ``region_conversion``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.label_studio.api.nested_results import flattened

#: Results of one annotation that are read.
MOST_RESULTS = 5_000

#: Labels of one region that are looked at.
MOST_LABELS = 100

#: Shapes that a result can have, by its type with the suffix "labels" taken off.
SHAPES = frozenset({"rectangle", "ellipse", "polygon", "brush", "magicwand", "bitmask", "keypoint", "vector"})
#: Types of results that answer a question and draw nothing.
ANSWERS = frozenset(
    {"choices", "textarea", "rating", "number", "taxonomy", "datetime", "pairwise", "ranker", "relation", "chatmessage"}
)
#: A shape by a key that only its values have; for results that name no type, as in JSON-MIN.
_BY_KEY = {"radiusX": "ellipse", "points": "polygon", "rle": "brush", "imageDataURL": "bitmask", "vertices": "vector"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPart:
    """One region: its shape, its value, the labels given to it, and the whole result it was read from."""

    #: one of ``SHAPES``; another word for what is none of them
    shape: str
    value: Mapping[str, Any]
    labels: tuple[str, ...]
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an annotation holds."""

    regions: tuple[RegionPart, ...]
    #: results that answer questions, as they stand
    answers: tuple[Mapping[str, Any], ...]
    #: a sentence for each result that cannot be read at all
    problems: tuple[str, ...]


def parts_of(result: Any) -> Parts:
    """The regions and answers of an annotation's result; every result of another form becomes a sentence."""
    problems: list[str] = []
    flat: list[Mapping[str, Any]] = []
    for number, entry in enumerate(flattened(result), start=1):
        if number > MOST_RESULTS:
            problems.append(f"annotation: it has more than {MOST_RESULTS:,} results; the rest is not read.")
            break
        if isinstance(entry, Mapping):
            flat.append(entry)
        else:
            problems.append(f"result {number}: it is no region but {_kind(entry)}; draw it again.")
    answers = tuple(entry for entry in flat if _type(entry) in ANSWERS)
    drawn = [entry for entry in flat if _type(entry) not in ANSWERS]
    return Parts(regions=tuple(_joined(drawn)), answers=answers, problems=tuple(problems))


def labels_of(value: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The labels that a value holds, under its own type's name or any other that ends in "labels"."""
    own = [value[kind]] if kind in value else []
    others = [found for key, found in value.items() if isinstance(key, str) and key.endswith("labels") and key != kind]
    for found in (*own, *others):
        listed = [found] if isinstance(found, str) else found
        if not isinstance(listed, list):
            continue
        if names := [plain(name)[:100] for name in listed[:MOST_LABELS] if isinstance(name, str)]:
            return tuple(names)
    return ()


def _joined(results: Sequence[Mapping[str, Any]]) -> Iterable[RegionPart]:
    """Each shape once, with the labels of its "labels" result where it has none of its own."""
    named: dict[str, tuple[str, ...]] = {}
    for result in results:
        if _type(result) == "labels" and (names := labels_of(_value(result), "labels")):
            named.setdefault(_id(result), names)
    shaped = {_id(result) for result in results if _type(result) != "labels"}
    for result in results:
        kind, value = _type(result), _value(result)
        if kind == "labels" and _id(result) and _id(result) in shaped:
            continue
        labels = labels_of(value, kind) or (named.get(_id(result), ()) if _id(result) else ())
        yield RegionPart(shape=_shape(kind, value), value=value, labels=labels, result=result)


def _shape(kind: str, value: Mapping[str, Any]) -> str:
    stem = kind.removesuffix("labels")
    if stem in SHAPES:
        return "brush" if stem == "magicwand" else stem
    if kind not in ("", "labels"):
        return kind[:40]
    for key, shape in _BY_KEY.items():
        if key in value:
            return shape
    if "width" in value and "height" in value:
        # JSON-MIN gives a keypoint a width alone
        return "rectangle"
    return "keypoint" if "x" in value and "y" in value else "unknown"


def _type(result: Mapping[str, Any]) -> str:
    kind = result.get("type")
    return plain(kind).strip().lower() if isinstance(kind, str) else ""


def _value(result: Mapping[str, Any]) -> Mapping[str, Any]:
    value = result.get("value")
    return value if isinstance(value, Mapping) else {}


def _id(result: Mapping[str, Any]) -> str:
    identity = result.get("id")
    return str(identity)[:100] if isinstance(identity, str | int) else ""


def _kind(entry: Any) -> str:
    return {str: "text", list: "a list", bool: "true or false", int: "a number", float: "a number"}.get(
        type(entry), "something else"
    )
