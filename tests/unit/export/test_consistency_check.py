"""The consistency check: a sample whose labels disagree with its mask is not exported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import Sample
from datagen.errors import StoreError
from datagen.export.consistency_check import check

Pixels = npt.NDArray[np.uint8]


def with_instance(sample: Sample, which: int, **changes: Any) -> Sample:
    instances = list(sample.instances)
    instances[which] = replace(instances[which], **changes)
    return replace(sample, instances=tuple(instances))


def test_areas_are_counted_in_pixels(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    assert check(sample, "s", mask, labels=labels).areas == ((mask == 1).sum(), (mask == 2).sum())


def test_an_image_without_the_thing_agrees(shelf: Any, labels: tuple[str, ...]) -> None:
    empty = np.zeros((8, 9), np.uint8)
    assert check(shelf.sample(empty, ()), "s", empty, labels=labels).areas == ()


def test_one_pixel_and_whole_image_agree(shelf: Any, labels: tuple[str, ...]) -> None:
    for drawn in (np.pad(np.ones((1, 1), np.uint8), 5), np.ones((7, 5), np.uint8)):
        assert check(shelf.sample(drawn, ("dent",)), "s", drawn, labels=labels).areas == (drawn.sum(),)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.02, 0.98))
def test_whatever_shape_the_outlines_of_the_engine_agree_with_it(
    shelf: Any, labels: tuple[str, ...], seed: int, share: float
) -> None:
    drawn = (np.random.default_rng(seed).random((13, 17)) < share).astype(np.uint8)
    if drawn.any():
        assert check(shelf.sample(drawn, ("dent",)), "s", drawn, labels=labels).areas == (drawn.sum(),)


@pytest.mark.parametrize("shift", [(1, 0), (0, 1), (-1, -1)])
def test_a_mask_moved_by_one_pixel(
    sample: Sample, mask: Pixels, labels: tuple[str, ...], shift: tuple[int, int]
) -> None:
    with pytest.raises(StoreError, match=r"sample 5bec_3 is not exported.*instance 1 \(scratch\) has the box"):
        check(sample, "5bec_3", np.roll(mask, shift, (0, 1)), labels=labels)


def test_a_box_that_is_a_pixel_too_wide(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    box = sample.instances[1].box
    wrong = with_instance(sample, 1, box=Box(box.x, box.y, box.width + 1, box.height))
    with pytest.raises(StoreError, match=r"instance 2 \(dent\) has the box"):
        check(wrong, "s", mask, labels=labels)


def test_an_instance_without_pixels(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match=r"instance 2 \(dent\) has no pixel"):
        check(sample, "s", np.where(mask == 2, 0, mask).astype(np.uint8), labels=labels)


def test_pixels_without_an_instance(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match="its mask marks an instance 2, its labels name 1"):
        check(replace(sample, instances=sample.instances[:1]), "s", mask, labels=labels)


def test_a_label_of_another_study(sample: Sample, mask: Pixels) -> None:
    with pytest.raises(StoreError, match=r"instance 2 \(dent\) has a label that the study does not: scratch"):
        check(sample, "s", mask, labels=("scratch",))


def test_instances_in_the_wrong_order(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match="has the box"):
        check(replace(sample, instances=sample.instances[::-1]), "s", mask, labels=labels)


def test_a_mask_of_another_size(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match="its mask is 59 by 40 pixels, its image 60 by 40"):
        check(sample, "s", mask[:, 1:], labels=labels)


def test_an_outline_that_misses_a_part(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    wrong = with_instance(sample, 0, outlines=sample.instances[0].outlines[:1])
    with pytest.raises(StoreError, match=r"the outline of instance 1 \(scratch\) runs more than 1 pixel"):
        check(wrong, "s", mask, labels=labels)


def test_an_outline_of_somewhere_else(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    moved = tuple(Polygon(tuple((x + 4, y) for x, y in outline.points)) for outline in sample.instances[1].outlines)
    with pytest.raises(StoreError, match="the outline of instance 2"):
        check(with_instance(sample, 1, outlines=moved), "s", mask, labels=labels)


def test_no_outline_at_all(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    with pytest.raises(StoreError, match="the outline of instance 1"):
        check(with_instance(sample, 0, outlines=()), "s", mask, labels=labels)


def test_a_hole_that_the_pixels_lack_or_the_outlines_close_is_a_disagreement(
    sample: Sample, mask: Pixels, labels: tuple[str, ...]
) -> None:
    """The outlines of a ring with the pixels of a disc, and a second outline that fills the hole again."""
    inner = Polygon(((41.5, 24.5), (48.5, 24.5), (48.5, 31.5), (41.5, 31.5)))
    closed = with_instance(sample, 1, outlines=(*sample.instances[1].outlines, inner))
    with pytest.raises(StoreError, match="the outline of instance 2"):
        check(closed, "s", mask, labels=labels)


def test_the_256th_instance_is_a_sentence(sample: Sample, mask: Pixels, labels: tuple[str, ...]) -> None:
    many = replace(sample, instances=sample.instances[:1] * 256)
    with pytest.raises(StoreError, match="its labels name 256 instances, a mask of eight bits holds 255"):
        check(many, "s", mask, labels=labels)
