"""Specs: known by a digest that any input changes, and that no release may change by accident."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion, ImageRef
from datagen.domain.spec import Spec, sample_seed

SPEC = Spec(
    labels=("scratch", "dent"),
    concepts=(
        ConceptImage(
            image=ImageRef(digest="c0" * 32, width=640, height=480, name="plate 1 “ä”.jpg"),
            regions=(
                ConceptRegion(label="scratch", box=Box(10.5, 20.0, 30.25, 4.0)),
                ConceptRegion(
                    label="dent",
                    box=Box(100.0, 100.0, 20.0, 20.0),
                    outline=(Polygon(((100.0, 100.0), (120.0, 100.0), (110.0, 120.0))),),
                ),
            ),
        ),
    ),
    canvases=(
        CanvasImage(
            image=ImageRef(digest="ca" * 32, width=640, height=480, name="plate 2.jpg"),
            areas=(
                CanvasArea(polygon=Polygon(((0.0, 0.0), (640.0, 0.0), (640.0, 480.0)))),
                CanvasArea(polygon=Polygon(((0.0, 0.0), (64.0, 0.0), (64.0, 48.0))), label="dent"),
            ),
        ),
    ),
    backgrounds=(ImageRef(digest="ba" * 32, width=800, height=600, name="plate 3.jpg"),),
    engine="composite",
    parameters={"strength": 1.0, "blend": {"hard": 0.25, "soft": 0.75}, "quarter_turns": False, "note": None},
    seed=7,
)

#: Of SPEC. It changes only when the canonical form does, and then every stored study gets other images from the same
#: spec: so never lightly, and never without a migration.
DIGEST = "9fece633068eb58d501f044750ee41c9026bd5535da38b88d672f5fc2c75a4b6"

polygons = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=5, unique=True).map(
    lambda points: Polygon(tuple(points))
)
boxes = st.builds(Box, *[st.floats(0, 1e6)] * 4)
names = st.text(max_size=8)
refs = st.builds(
    ImageRef, digest=st.just("ab" * 32), width=st.integers(1, 9999), height=st.integers(1, 9999), name=names
)
regions = st.builds(ConceptRegion, label=names, box=boxes, outline=st.lists(polygons, max_size=2).map(tuple))
areas = st.builds(CanvasArea, polygon=polygons, label=st.none() | names)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
specs = st.builds(
    Spec,
    labels=st.lists(names, max_size=3).map(tuple),
    concepts=st.lists(
        st.builds(ConceptImage, image=refs, regions=st.lists(regions, max_size=2).map(tuple)), max_size=2
    ).map(tuple),
    canvases=st.lists(st.builds(CanvasImage, image=refs, areas=st.lists(areas, max_size=2).map(tuple)), max_size=2).map(
        tuple
    ),
    backgrounds=st.lists(refs, max_size=2).map(tuple),
    engine=names,
    parameters=st.dictionaries(names, json_values, max_size=3),
    seed=st.integers(0, 2**63),
)


def test_the_canonical_form_has_not_changed() -> None:
    assert SPEC.digest == DIGEST


@given(specs)
def test_json_there_and_back_is_the_same_spec_with_the_same_digest(spec: Spec) -> None:
    back = Spec.from_json(json.loads(json.dumps(spec.to_json())))
    assert back == spec
    assert back.digest == spec.digest


def test_the_digest_is_64_hexadecimal_digits() -> None:
    assert int(SPEC.digest, 16) >= 0
    assert len(SPEC.digest) == 64


def changed_concept(**changes: Any) -> Spec:
    return replace(SPEC, concepts=(replace(SPEC.concepts[0], **changes),))


def changed_region(**changes: Any) -> Spec:
    first, second = SPEC.concepts[0].regions
    return changed_concept(regions=(first, replace(second, **changes)))


def changed_area(**changes: Any) -> Spec:
    first, second = SPEC.canvases[0].areas
    return replace(SPEC, canvases=(replace(SPEC.canvases[0], areas=(first, replace(second, **changes))),))


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, labels=("dent", "scratch")),
        replace(SPEC, labels=("scratch",)),
        replace(SPEC, engine="diffusion"),
        replace(SPEC, seed=8),
        replace(SPEC, parameters={}),
        replace(SPEC, parameters={**SPEC.parameters, "strength": 1.0000001}),
        replace(SPEC, parameters={**SPEC.parameters, "quarter_turns": True}),
        replace(SPEC, concepts=()),
        replace(SPEC, concepts=SPEC.concepts * 2),
        changed_concept(image=replace(SPEC.concepts[0].image, digest="c1" * 32)),
        changed_concept(image=replace(SPEC.concepts[0].image, name="other.jpg")),
        changed_concept(regions=SPEC.concepts[0].regions[::-1]),
        changed_region(label="scratch"),
        changed_region(box=Box(100.0, 100.0, 20.0, 20.5)),
        changed_region(outline=()),
        changed_area(label=None),
        changed_area(polygon=Polygon(((0.0, 0.0), (64.0, 0.0), (64.0, 48.5)))),
        replace(SPEC, canvases=()),
        replace(SPEC, backgrounds=()),
        replace(SPEC, backgrounds=(replace(SPEC.backgrounds[0], width=801),)),
    ],
)
def test_any_change_changes_the_digest(other: Spec) -> None:
    assert other.digest != SPEC.digest


def test_the_order_of_parameters_does_not() -> None:
    assert replace(SPEC, parameters=dict(reversed(SPEC.parameters.items()))).digest == SPEC.digest


def test_whole_numbers_and_numpy_s_are_the_same_coordinates() -> None:
    """A detector that counts in integers and a form that answers in floats mean one spec."""
    area = SPEC.canvases[0].areas[1]
    whole = changed_area(polygon=Polygon(tuple((int(x), np.float32(y)) for x, y in area.polygon.points)))
    assert whole.digest == SPEC.digest
    box = Box(100, np.int64(100), np.float32(20), 20.0)
    assert changed_region(box=box).digest == SPEC.digest


class TestSampleSeed:
    def test_it_is_the_same_on_any_machine(self) -> None:
        assert sample_seed("ab" * 32, 0) == 5816185999330448711

    def test_every_index_and_every_spec_has_its_own(self) -> None:
        seeds = {sample_seed(digest, index) for digest in ("ab" * 32, "cd" * 32) for index in range(1000)}
        assert len(seeds) == 2000
        assert all(0 <= seed < 2**64 for seed in seeds)
