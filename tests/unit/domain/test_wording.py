"""Counts agree with their nouns, and durations have a unit."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

import datagen
from datagen.domain.wording import by_number, counted, span

#: A number in an f-string, and behind it a plural that does not depend on the number.
_PLURAL = re.compile(r"(?:len\([^}]*|count|\w+\.count|number|missing|total|pages|attempts)(?::,)?\} [a-z]{3,}s\b")
#: Where the number is never 1, or the word is no plural.
_NEVER_ONE = (
    "bytes, at most",  # more than the limit
    "entries, at most",
    "tasks, at most",
    "sides lie across",  # a polygon has three or more
    "corners, at most",
    "corners, and more than",
    "instances, a mask",
    "boxes drawn, {count}, from",  # more than MAX_EXEMPLARS
)


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 images"), (1, "1 image"), (2, "2 images"), (1000, "1,000 images")],
)
def test_noun_agrees_with_its_count(count: int, words: str) -> None:
    assert counted(count, "image") == words


def test_verb_agrees_with_its_count() -> None:
    assert [by_number(count, "says", "say") for count in (0, 1, 2)] == ["say", "says", "say"]


def test_no_sentence_has_a_count_with_a_fixed_plural() -> None:
    """“1 studies”, “1 of 8 verdicts say”: every count in a sentence goes through ``counted``."""
    folder = Path(datagen.__file__).parent
    wrong = [
        f"{path.relative_to(folder)}:{number}: {line.strip()}"
        for path in sorted(folder.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if _PLURAL.search(line) and not any(known in line for known in _NEVER_ONE)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "1 min"), (5399, "89 min"), (5400, "1.5 h")]
)
def test_span_is_written_in_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert span(timedelta(seconds=seconds)) == words
