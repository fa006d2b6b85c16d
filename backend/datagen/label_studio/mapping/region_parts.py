"""Parser of an annotation's results into regions, for any project. It reads nested lists and JSON as text.

Label Studio writes a region of ``RectangleLabels`` as one result. It writes a region of ``Rectangle`` with ``Labels``
as two results with the same id; their labels are joined here. This module does not depend on a study's controls;
``region_conversion`` does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.label_studio.api.nested_results import flattened

#: Maximum number of results read from one annotation.
MAX_RESULTS = 5_000

#: Maximum number of labels read from one region.
MAX_LABELS = 100

#: Shapes of a region: the type of its result without the suffix "labels".
SHAPES = frozenset({"rectangle", "ellipse", "polygon", "brush", "magicwand", "bitmask", "keypoint", "vector"})
#: Types of results that are form answers, so that they draw nothing.
ANSWERS = frozenset(
    {"choices", "textarea", "rating", "number", "taxonomy", "datetime", "pairwise", "ranker", "relation", "chatmessage"}
)
#: Shapes by a key that only their values have. They are used for results without a type, as in JSON-MIN.
_BY_KEY = {"radiusX": "ellipse", "points": "polygon", "rle": "brush", "imageDataURL": "bitmask", "vertices": "vector"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionPart:
    """One region: its shape, value and labels, and the whole result that it was read from."""

    #: one of ``SHAPES``, or another word if the shape is unknown
    shape: str
    value: Mapping[str, Any]
    labels: tuple[str, ...]
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The regions and form answers that were read from an annotation."""

    regions: tuple[RegionPart, ...]
    #: form answers, as they were in the result
    answers: tuple[Mapping[str, Any], ...]
    #: a sentence for each unreadable result
    problems: tuple[str, ...]


def parts_of(result: Any) -> Parts:
    """The regions and answers of an annotation's result; every unreadable entry becomes a sentence in ``problems``."""
    problems: list[str] = []
    flat: list[Mapping[str, Any]] = []
    for number, entry in enumerate(flattened(result), start=1):
        if number > MAX_RESULTS:
            problems.append(f"annotation: it has more than {MAX_RESULTS:,} results; the rest is not read.")
            break
        if isinstance(entry, Mapping):
            flat.append(entry)
        else:
            problems.append(f"result {number}: it is no region but {_kind(entry)}; draw it again.")
    answers = tuple(entry for entry in flat if _type(entry) in ANSWERS)
    drawn = [entry for entry in flat if _type(entry) not in ANSWERS]
    return Parts(regions=tuple(_joined(drawn)), answers=answers, problems=tuple(problems))


def labels_of(value: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """The labels in a value, under the key of its own type ``kind``, else under another key that ends in "labels"."""
    own = [value[kind]] if kind in value else []
    others = [entry for key, entry in value.items() if isinstance(key, str) and key.endswith("labels") and key != kind]
    for entry in (*own, *others):
        listed = [entry] if isinstance(entry, str) else entry
        if not isinstance(listed, list):
            continue
        if names := [plain(name)[:100] for name in listed[:MAX_LABELS] if isinstance(name, str)]:
            return tuple(names)
    return ()


def _joined(results: Sequence[Mapping[str, Any]]) -> Iterable[RegionPart]:
    """Yield the regions in a list of results.

    A region that has no labels of its own gets those of the result of type "labels" with the same id.
    """
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
        # in JSON-MIN a keypoint has a width only
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
