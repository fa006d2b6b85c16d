"""A verdict that is written as a form is read from it again, and the drawn regions are what was shown."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.domain.foreign_text import plain
from datagen.domain.geometry import Polygon
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.label_studio.mapping.form_answers import verdict
from datagen.label_studio.mapping.predictions import polygon_region
from datagen.label_studio.mapping.regions import outlines_left, redrawn_outlines
from datagen.label_studio.mapping.verdict_forms import as_shown, has_drawing, with_verdict
from drawn import HEIGHT, WIDTH, choice, polygon, text

OUTLINES = [Polygon(((10.0, 10.0), (50.0, 12.0), (30.0, 40.0))), Polygon(((80.0, 20.0), (120.0, 20.0), (90.0, 60.0)))]
PREDICTED = [polygon_region(f"i{n}", "label", "dent", outline, WIDTH, HEIGHT) for n, outline in enumerate(OUTLINES)]
READ = (WIDTH, HEIGHT, ["dent"], OUTLINES)
GOOD = Verdict(opinion=Opinion.GOOD)


@given(
    st.builds(
        Verdict,
        opinion=st.sampled_from(Opinion),
        reasons=st.frozensets(st.sampled_from(Reason)),
        comment=st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=50)
        .map(str.strip)
        .filter(lambda comment: plain(comment) == comment),
    )
)
def test_a_verdict_is_read_as_it_was_written(given_verdict: Verdict) -> None:
    assert verdict(with_verdict(as_shown(PREDICTED), given_verdict)) == given_verdict


def test_outlines_that_were_shown_are_kept_and_are_no_corrections() -> None:
    result = with_verdict(as_shown(PREDICTED), GOOD)
    assert redrawn_outlines(result, *READ) == ()
    assert outlines_left(result, *READ) == (0, 1)
    assert not has_drawing(result)


def test_a_changed_verdict_replaces_the_form_and_keeps_what_was_drawn() -> None:
    drawn = polygon((5, 5), (25, 5), (25, 45), control="label", label="dent")
    before = [choice("verdict", "bad"), choice("reasons", "too small"), text("comment", "hm"), drawn]
    assert verdict(with_verdict(before, GOOD)) == GOOD
    assert [entry for entry in with_verdict(before, GOOD) if entry["from_name"] == "label"] == [drawn]
    assert has_drawing(with_verdict(before, GOOD))
    assert len(redrawn_outlines(with_verdict(before, GOOD), *READ)) == 1


@pytest.mark.parametrize("written", [GOOD, Verdict(opinion=Opinion.BAD, reasons=frozenset(Reason), comment="a")])
def test_the_form_has_only_controls_of_the_review_project(written: Verdict) -> None:
    entries: list[dict[str, Any]] = with_verdict([], written)
    assert {entry["from_name"] for entry in entries} <= {"verdict", "reasons", "comment"}
    assert len({entry["id"] for entry in entries}) == len(entries)
