"""Choices that are distributed evenly over the samples of a spec."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from datagen.synthesis.composite.compositor import evenly


@pytest.mark.parametrize("samples", [20, 100, 200, 1000])
@pytest.mark.parametrize("kinds", [2, 3, 6, 8, 14])
def test_of_any_number_of_concepts_each_comes_about_as_often(kinds, samples):
    """With a step of nearly 6/7 one concept of fourteen came 25 times in 200, its neighbour 8 times."""
    for first in (0, 5000):
        turns = np.array([astuple(evenly(first + n)) for n in range(samples)])
        for numbers in turns.T:
            counts = np.histogram(numbers, bins=kinds, range=(0, 1))[0]
            assert np.ptp(counts) <= 4


def test_concepts_and_sizes_are_not_tied_to_each_other():
    turns = [evenly(n) for n in range(400)]
    cells, _, _ = np.histogram2d([e.concept for e in turns], [e.size for e in turns], bins=(5, 4), range=((0, 1),) * 2)
    assert cells.min() >= 0.6 * cells.mean()
