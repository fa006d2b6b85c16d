"""What a source gives, whatever its format: pictures by their address, with what is drawn on each.

Plain values; nothing here reads a file or knows Label Studio's API.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.domain.foreign_text import is_showable, plain
from datagen.errors import BadRegion

#: Pictures that one command reads.
MOST_ITEMS = 200_000

#: The regions on a picture of that width and height in pixels, in Label Studio's form.
Draw = Callable[[int, int], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportNote:
    """Why something was not used: ``reason`` is the same for all items of its kind, so that they can be counted."""

    item: str
    reason: str

    def __str__(self) -> str:
        return f"{self.item}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture of a source."""

    #: how people find it in the source: “concept.json, task 3”
    where: str
    #: as the source names the picture; not used where ``file`` is set
    address: str = ""
    file: Path | None = None
    #: what the picture is called; empty: after its file
    name: str = ""
    #: None: nobody drew on it
    draw: Draw | None = None


@dataclass(kw_only=True)
class Reading:
    """What is read of a source, and what is said about the rest."""

    items: list[Item] = field(default_factory=list)
    told: list[ImportNote] = field(default_factory=list)
    #: sentences about what was used, or need not be
    notes: list[str] = field(default_factory=list)
    _counted: dict[str, int] = field(default_factory=dict)

    def tell(self, item: str, reason: str) -> None:
        """Say that something is not used."""
        self.told.append(ImportNote(item=plain(item), reason=plain(reason)))

    def regions(self, drawn: Iterable[tuple[str, Callable[[], Iterable[dict[str, Any]]]]]) -> list[dict[str, Any]]:
        """The regions of each drawing: where it is, and what reads it; one that is no region is told."""
        found: list[dict[str, Any]] = []
        for where, read in drawn:
            try:
                found += read()
            except BadRegion as problem:
                self.tell(where, str(problem))
        return found

    def count(self, sentence: str, number: int = 1) -> None:
        """Count how often a note applies; ``sentence`` holds “{n}” for the number."""
        self._counted[sentence] = self._counted.get(sentence, 0) + number

    def all_notes(self) -> list[str]:
        """Every note, with the numbers filled in."""
        return [*map(plain, self.notes), *(text.replace("{n}", f"{count:,}") for text, count in self._counted.items())]


def fixed(result: Any) -> Draw:
    """Regions that are the same whatever the picture's size: percentages."""
    return lambda _width, _height: result


def clean_name(name: str) -> str:
    """A name that every server and terminal can hold: undecodable bytes and controls become “?”."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if is_showable(letter) else "?" for letter in text)[:300]


def folded(name: str) -> str:
    """A name for comparison where the case of letters and the form of accents differ between machines."""
    return unicodedata.normalize("NFC", name).casefold()


def examples(items: Iterable[str], most: int = 3) -> str:
    """The first few of a list, and how many more there are."""
    listed = list(items)
    more = f" and {len(listed) - most:,} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
