"""The manifest contains the origin of each image."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from datagen.domain.geometry import Polygon
from datagen.domain.sample import Sample
from datagen.export.manifest import line, provenance
from datagen.export.writer import ExportedSample

SPEC = "5bec" * 16
RING = Polygon(((41.5, 24.5), (48.5, 24.5), (48.5, 31.5)))


@pytest.fixture
def written(shelf: Any, sample: Sample) -> Callable[..., dict[str, Any]]:
    return lambda about: line_of(shelf.exported(sample), about)


def line_of(piece: ExportedSample, about: dict[str, Any]) -> dict[str, Any]:
    piece = replace(piece, areas=(54, 180), rings=((), (RING,)), provenance=provenance(piece.sample, about))
    text = line(piece, {"image": "images/a.png", "mask": "masks/a.png"})
    assert "\n" not in text
    body: dict[str, Any] = json.loads(text)
    return body


def run(number: int, first: int | None = None, spec: str = SPEC) -> dict[str, Any]:
    body = {"number": number, "name": f"run {number}", "spec_digest": spec}
    body |= {"approved_by": f"person{number}@example.com", "approved_at": "2026-01-02T03:04:05+00:00"}
    return body if first is None else body | {"first_index": first}


def test_files_checksums_and_labels(sample: Sample, written: Any) -> None:
    body = written({})
    assert body["files"] == {"image": "images/a.png", "mask": "masks/a.png"}
    assert body["sha256"] == {"image": sample.image.digest, "mask": sample.mask.digest}
    assert (body["width"], body["height"]) == (60, 40)
    assert [(i["label"], i["area"], i["mask_value"]) for i in body["instances"]] == [
        ("scratch", 54, 1),
        ("dent", 180, 2),
    ]
    assert "holes" not in body["instances"][0]
    assert body["instances"][1]["holes"] == [[list(point) for point in RING.points]]
    assert body["instances"][0]["outlines"] == [[list(p) for p in o.points] for o in sample.instances[0].outlines]


def test_provenance_is_enough_to_make_the_sample_again(written: Any) -> None:
    provenance = written({"runs": [run(1)]})["provenance"]
    assert provenance == {
        "origin": "synthesized",
        "spec_digest": SPEC,
        "index": 3,
        "seed": 2**63 + 3,
        "engine": "composite",
        "engine_version": "1.0",
        "background": {"digest": "ba" * 32, "width": 60, "height": 40, "name": "plate 7.jpg"},
        "steps": {"pose": {"degrees": 12.5}},
        "run": 1,
        "run_name": "run 1",
        "approved_by": "person1@example.com",
        "approved_at": "2026-01-02T03:04:05+00:00",
    }


@pytest.mark.parametrize(
    ("runs", "made_it"),
    [
        ([run(1, 0), run(2, 3), run(3, 4)], 2),
        ([run(3, 4), run(2, 3), run(1, 0)], 2),
        ([run(1, 0, "0ther"), run(2, 0)], 2),
        ([run(1, 0, "0ther")], None),
        ([run(1, 4)], None),
        ([], None),
    ],
)
def test_of_several_runs_the_one_that_made_it_is_named(
    written: Any, runs: list[dict[str, Any]], made_it: int | None
) -> None:
    assert written({"runs": runs})["provenance"]["run"] == made_it
