"""An encoded brush mask is read by Label Studio's own decoder, and takes the time of its runs."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brush_code import decode_rle
from datagen.label_studio.mapping import brush_masks
from datagen.label_studio.mapping.brush_encoding import encode


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_label_studio_decodes_the_mask_that_was_encoded(mask: np.ndarray) -> None:
    values = np.asarray(decode_rle(encode(mask))).reshape(*mask.shape, 4)
    assert (values == mask[:, :, None] * 255).all()


def test_run_of_more_values_than_one_length_can_say_is_encoded_in_parts() -> None:
    mask = np.ones((200, 500), bool)
    mask[-1, -1] = False
    assert (brush_masks.decode(encode(mask), 500, 200) == mask).all()


def test_large_brush_mask_is_encoded_in_the_time_of_its_runs() -> None:
    """The SDK's encoder takes seconds for four million pixels."""
    inside = np.zeros((2000, 2000), bool)
    inside[500:1500, 500:1500] = True
    begun = time.process_time()
    rle = encode(inside)
    assert time.process_time() - begun < 1
    assert len(rle) < 40_000
