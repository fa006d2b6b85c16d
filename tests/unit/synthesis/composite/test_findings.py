"""The findings of a fit, for people: their effect on the previews and the fix; numbers are separate details."""

from __future__ import annotations

import re

import pytest

from datagen.synthesis.composite import findings
from datagen.synthesis.composite.appearance.appearance_model import AppearanceModel
from datagen.synthesis.composite.appearance.pose import PosePrior
from datagen.synthesis.composite.engine import CompositeEngine
from datagen.synthesis.composite.placement import area_model
from datagen.synthesis.composite.placement.area_model import ANYWHERE, MODES

LAWS = ("two-level", "absolute", "additive", "between absolute and additive", "undetermined")
POSES = ("kept", "quarter turns", "any turn")
#: Words of the methods, which say nothing to an annotator.
_JARGON = re.compile(r"\b(IoU|law|slope|matte|prior|blends?|additive|exemplar|pose|residual|leave|learned by)\b")


def law(kind: str) -> AppearanceModel:
    return AppearanceModel(
        kind=kind, slope=1.0, doubt=0.22, two_level=False, contrast_log=0.1, weights={"soft": 1.0}, scores={"soft": 0.3}
    )


def prior(mode: str) -> PosePrior:
    return PosePrior(mode=mode, degrees=6.0, size_log=0.05, stretch_log=0.03, reason="no direction is shared")


def every_finding() -> list[str]:
    return [
        *(findings.tones("scratch", law(kind)) for kind in LAWS),
        *(findings.directions("scratch", prior(mode)) for mode in POSES),
        *(findings.area("scratch", mode, overlap) for mode in (*MODES, ANYWHERE.mode) for overlap in (0.3, 0.9)),
        findings.cut_out("scratch", 1),
        findings.soft_edges("scratch"),
        findings.of_same_part(1, 8),
    ]


@pytest.mark.parametrize("line", every_finding())
def test_finding_is_free_of_methods_and_says_what_to_do(line: str) -> None:
    assert not _JARGON.search(line)
    assert re.search(r"\b([Aa]dd|[Dd]raw|Choose|check|would show|nothing to do)\b", line)


def test_every_law_and_pose_has_its_sentence() -> None:
    """A new kind must not end a fit with a KeyError."""
    assert set(findings._TONES) == set(LAWS)
    assert set(findings._DIRECTIONS) == set(POSES)
    assert set(findings._AREAS) == set(area_model.MODES)


def test_count_of_examples_agrees_with_its_noun_and_verb() -> None:
    assert findings.cut_out("scratch", 1).startswith("scratch: 1 example is used.")
    assert findings.cut_out("scratch", 8).startswith("scratch: 8 examples are used.")
    assert findings.of_same_part(1, 8).startswith("1 of 8 examples was cut out")


def test_area_that_predicts_other_canvases_badly_asks_for_more() -> None:
    assert "add canvases" in findings.area("scratch", "both", 0.3)
    assert "add canvases" not in findings.area("scratch", "both", 0.9)


def test_report_of_a_fit_has_the_numbers_apart(study) -> None:
    spec, shelf = study()
    report = CompositeEngine().fit(spec, shelf, lambda *_: None).report
    assert not [line for line in report.findings if _JARGON.search(line)]
    assert not [line for line in report.findings if re.search(r"\d\.\d|%", line)]
    for word in ("IoU", "±", "sizes vary by", "cut out by"):
        assert any(word in line for line in report.details), word
