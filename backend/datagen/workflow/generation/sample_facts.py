"""Facts by which the samples of a run are searched and sorted, in rows beside those of the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from datagen.domain.geometry import Box
from datagen.domain.trace import PHOTO_DIGITS
from datagen.export.selection import Place, place_of
from datagen.store.tables.batches import SampleFactsRow, SampleRow

_PLACES = tuple(Place)


def facts_of(row: SampleRow) -> SampleFactsRow:
    """Return the facts of a sample of a run."""
    body = row.body
    width, height = body["image"]["width"], body["image"]["height"]
    boxes = [Box(**instance["box"]) for instance in body["instances"]]
    places = 0
    for box in boxes:
        places |= bit_of(place_of(box, width, height))
    return SampleFactsRow(
        batch_id=row.batch_id,
        index=row.index,
        instances=len(boxes),
        size=round(max((max(box.width, box.height) for box in boxes), default=0)),
        places=places,
        labels=between(instance["label"] for instance in body["instances"]),
        concepts=between(_photos(body["provenance"]["steps"])),
        background=body["provenance"]["background"]["name"],
    )


def bit_of(place: Place) -> int:
    """Return the bit of a place in ``SampleFactsRow.places``."""
    return 1 << _PLACES.index(place)


def between(words: Iterable[str]) -> str:
    """Return words, each once, as one text in which each is between two line feeds; "" if there is none."""
    return "".join(f"\n{word}" for word in distinct) + "\n" if (distinct := sorted(set(words))) else ""


def words_of(text: str) -> list[str]:
    """Return the words that ``between`` joined."""
    return text.split("\n")[1:-1]


def _photos(steps: Mapping[str, Any]) -> Iterable[str]:
    """Yield the first digits of the digest of each concept's photo; of keys of another form, what they begin with."""
    for instance in steps.get("instances") or ():
        if isinstance(key := instance.get("concept"), str):
            yield key.split(":")[0][:PHOTO_DIGITS]
