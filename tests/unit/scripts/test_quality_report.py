"""The quality report on figures whose answer is known."""

from __future__ import annotations

import pytest

from benches.quality_report import judged, table


def runs(*ap, ap50=None, ap33=None):
    return [{"ap": value, "ap50": ap50 or value, "ap33": ap33 or value} for value in ap]


def test_the_gap_is_counted_from_the_few_with_true_masks():
    judgement = judged(
        "boards",
        "small",
        {
            "few_true": runs(0.4, 0.4),
            "few_auto": runs(0.1, 0.1),
            "ours": runs(0.3, 0.4),
            "ours_few": runs(0.5, 0.5),
            "all_real": runs(0.6, 0.6),
        },
    )
    assert judgement["gap_closed"]["ap"] == pytest.approx({"ours": -0.25, "ours_few": 0.5})
    assert judgement["methods"]["ours"]["ap"] == pytest.approx(0.35)
    assert judgement["methods"]["ours"]["ap_sd"] == pytest.approx(0.0707, abs=1e-4)


def test_without_a_gap_no_share_of_it_is_claimed():
    judgement = judged("tiles", "small", {"few_true": runs(0.6), "ours_few": runs(0.9), "all_real": runs(0.64)})
    assert judgement["gap_closed"] == {"ap": None, "ap50": None, "ap33": None}


def test_harm_is_named_with_pack_judge_and_figures():
    judgement = judged(
        "roads",
        "pretrained",
        {
            "few_true": runs(0.50, 0.50, 0.50, ap50=0.5, ap33=0.5),
            "few_auto": runs(0.30, 0.30, 0.30, ap50=0.3, ap33=0.3),
            "ours_few": runs(0.51, 0.40, 0.40, ap50=0.49, ap33=0.5),
        },
    )
    assert judgement["harm"] == [
        "Harm on roads: the pretrained judge reaches pixel AP 0.437 with ours + few, and 0.500 with the few with true "
        "masks alone (lower in 2 of 3 seeds)."
    ]


@pytest.mark.parametrize(("after", "harms"), [(0.481, False), (0.479, True)])
def test_harm_begins_at_two_hundredths(after, harms):
    judgement = judged("roads", "small", {"few_auto": runs(0.5), "ours_few": runs(after)})
    assert bool(judgement["harm"]) is harms


def report(**methods):
    pack = {
        "judges": {"small": judged("roads", "small", methods)},
        "look": {"ours": {"c2st": 0.61, "c2st_sd": 0.02, "coverage": 0.7, "coverage_sd": 0.0}},
        **{"matte_iou": 0.7, "outside_changed_px": 0, "visible_share": 1.0, "nearest_copy": 0.4},
        **{"c2st_floor": 0.5, "c2st_floor_sd": 0.1},
    }
    return {"packs": {"roads": pack}}


def test_table_says_the_harm_or_that_there_is_none():
    harmed = table(report(few_true=runs(0.5), ours_few=runs(0.4), all_real=runs(0.7)))
    assert "Harm on roads" in harmed
    assert "No harm" not in harmed
    helped = table(report(few_true=runs(0.5), ours_few=runs(0.6), all_real=runs(0.7)))
    assert "Harm on" not in helped
    assert "No harm" in helped


def test_table_claims_no_absence_of_harm_that_was_not_measured():
    assert "harm" not in table(report(few_true=runs(0.5), all_real=runs(0.7))).lower()


def test_table_has_the_gap_and_the_look():
    lines = table(report(few_true=runs(0.5), ours_few=runs(0.6), all_real=runs(0.7)))
    assert "0.50" in next(line for line in lines.splitlines() if "gap, ours_few" in line)
    assert "C2ST 0.61 ± 0.02, coverage 0.70" in lines
