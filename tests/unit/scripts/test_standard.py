"""The simulated annotator's hidden standard."""

from __future__ import annotations

from typing import Any

from stage.standard import size_of, standard_of


def task(*widths: float, index: int = 2) -> dict[str, Any]:
    """A review task with objects of these widths, and heights of three quarters of them, in percent of 400 pixels."""
    regions = [
        {
            "type": "polygonlabels",
            "original_width": 400,
            "original_height": 400,
            "value": {"points": [[10, 10], [10 + width, 10], [10 + width, 10 + 0.75 * width]]},
        }
        for width in widths
    ]
    return {"data": {"index": str(index)}, "predictions": [{"result": regions}]}


def test_size_is_the_diagonal_of_the_largest_object_in_pixels() -> None:
    assert size_of(task(5, 20, 10)) == 100
    assert size_of(task()) == 0


def test_four_of_the_first_ten_previews_are_too_large() -> None:
    first = [task(width) for width in (7, 3, 10, 1, 5, 9, 2, 8, 4, 6)]
    standard = standard_of(first)
    opinions = {size_of(preview): standard.opinion_of(preview) for preview in first}
    assert [opinion.good for _, opinion in sorted(opinions.items())] == [True] * 6 + [False] * 4
    assert {opinion.reasons for opinion in opinions.values() if not opinion.good} == {("too large",)}


def test_standard_stays_when_later_previews_are_smaller() -> None:
    standard = standard_of([task(width) for width in (1, 2, 3, 4, 5)])
    assert all(standard.opinion_of(task(width)).good for width in (0.5, 1, 2, 3))


def test_previews_of_one_size_are_all_good() -> None:
    first = [task(4)] * 3
    assert all(standard_of(first).opinion_of(preview).good for preview in first)
