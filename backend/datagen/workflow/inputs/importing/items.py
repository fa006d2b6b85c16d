"""Format-independent content of a source: pictures by address, with their drawings.

These are plain values; this module reads no files and does not depend on Label Studio's API.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datagen.domain.foreign_text import is_showable, plain
from datagen.errors import BadRegion

#: Largest number of pictures that one command reads.
MAX_ITEMS = 200_000

#: A function that returns the regions on a picture in Label Studio's format, given the picture's width and height in
#: pixels.
Draw = Callable[[int, int], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportNote:
    """An item that was not used, and the reason. Items with the same reason are shown together."""

    item: str
    reason: str

    def __str__(self) -> str:
        return f"{self.item}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A picture of a source."""

    #: its location in the source, for messages: “concept.json, task 3”
    where: str
    #: the picture's address in the source; it is not used if ``file`` is set
    address: str = ""
    file: Path | None = None
    #: the picture's name; empty: the name of its file
    name: str = ""
    #: returns the drawings on the picture; None if there are none
    draw: Draw | None = None


@dataclass(kw_only=True)
class Reading:
    """The items that were read from a source, and ``problems``: what in the source is not used, and why."""

    items: list[Item] = field(default_factory=list)
    problems: list[ImportNote] = field(default_factory=list)
    #: sentences that are not problems
    notes: list[str] = field(default_factory=list)
    _counted: dict[str, int] = field(default_factory=dict)

    def report(self, item: str, reason: str) -> None:
        """Report an item that is not used."""
        self.problems.append(ImportNote(item=plain(item), reason=plain(reason)))

    def regions(self, drawn: Iterable[tuple[str, Callable[[], Iterable[dict[str, Any]]]]]) -> list[dict[str, Any]]:
        """Return the regions of all drawings. A drawing that cannot be used is reported.

        ``drawn`` has a pair for each drawing: its location for messages, and a function that returns its regions.
        """
        results: list[dict[str, Any]] = []
        for where, read in drawn:
            try:
                results += read()
            except BadRegion as problem:
                self.report(where, str(problem))
        return results

    def count(self, sentence: str, number: int = 1) -> None:
        """Add ``number`` occurrences of a note. “{n}” in ``sentence`` is replaced by their total number."""
        self._counted[sentence] = self._counted.get(sentence, 0) + number

    def all_notes(self) -> list[str]:
        """Return all notes, including those of ``count`` with their numbers filled in."""
        return [*map(plain, self.notes), *(text.replace("{n}", f"{count:,}") for text, count in self._counted.items())]


def fixed(result: Any) -> Draw:
    """Return a ``Draw`` for regions that are given in percent, and so do not depend on the picture's size."""
    return lambda _width, _height: result


def clean_name(name: str) -> str:
    """Return a name that is valid on every server and terminal: undecodable bytes and controls become “?”."""
    text = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(letter if is_showable(letter) else "?" for letter in text)[:300]


def folded(name: str) -> str:
    """Return a name for comparisons that ignore case and Unicode normalization forms."""
    return unicodedata.normalize("NFC", name).casefold()


def examples(items: Iterable[str]) -> str:
    """Return the first three items of a list, and the number of the others, as text."""
    listed = list(items)
    more = f" and {len(listed) - 3:,} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more
