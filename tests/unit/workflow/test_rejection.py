"""The counts of rejected candidates, and their sentences."""

from __future__ import annotations

from datagen.store.tables.base import BatchKind
from datagen.workflow.rejection import CANDIDATES, Rejections, candidates_of_place, stride_of


def spec_body(*, reject_below: float = 0.2, labels: int = 1, backgrounds: int = 6) -> dict:
    """The part of a spec that decides about candidates."""
    critic = {"reject_below": reject_below}
    return {"critic": critic, "labels": ["pit"] * labels, "backgrounds": [{}] * backgrounds}


def test_only_audits_and_runs_of_a_version_that_rejects_have_candidates() -> None:
    expected = {BatchKind.AUDIT: CANDIDATES, BatchKind.RUN: CANDIDATES}
    for kind in BatchKind:
        assert candidates_of_place(spec_body(), kind) == expected.get(kind, 1)
        assert candidates_of_place(spec_body(reject_below=0.0), kind) == 1
        assert candidates_of_place({"labels": ["pit"], "backgrounds": []}, kind) == 1


def test_candidates_of_a_place_keep_its_label_and_change_the_background() -> None:
    stride = stride_of(spec_body(labels=2, backgrounds=7), BatchKind.RUN, 12)
    assert (stride >= 12, stride % 2) == (True, 0)
    assert len({number * stride % 7 for number in range(CANDIDATES)}) == CANDIDATES
    assert stride_of(spec_body(), BatchKind.ROUND, 12) == 12
    assert stride_of(spec_body(backgrounds=1), BatchKind.RUN, 12) == 12


def test_counts_of_shards_are_added_and_said() -> None:
    first = Rejections(candidates=60, rejected=10, why={"size": 7, "softness of edges": 3})
    both = first + Rejections(candidates=55, rejected=5, exhausted=1, why={"size": 1, "concept": 4})
    assert Rejections.from_json(both.to_json()) == both
    assert both.sentence == (
        "The critic rejected 15 of 115 candidates; what spoke most against them: size (8), concept (4), softness of "
        "edges (3). For 1 image all 4 candidates were bad, and the best of them was taken: refine the version, so that "
        "its samples are good."
    )
    assert Rejections(candidates=50).sentence == "The critic rejected none of 50 candidates."
    assert Rejections.from_json(None).sentence == ""
