"""Values are varied as those seen vary: the largest do not grow without bound, and what is alike still varies."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.synthesis.spread import spread_of

SEEN = [1.0, 1.2, 1.5, 1.9, 2.0, 2.4]


def test_what_is_made_varies_as_what_was_seen():
    spread, chance = spread_of(SEEN, 0.1, (0.05, 1.0)), np.random.default_rng(0)
    made = [own + spread.move(own, chance.normal()) for own in SEEN for _ in range(2000)]
    assert np.mean(made) == pytest.approx(np.mean(SEEN), abs=0.02)
    assert np.std(made) == pytest.approx(np.std(SEEN, ddof=1), rel=0.1)


def test_the_largest_is_drawn_in_and_the_smallest_too():
    spread = spread_of(SEEN, 0.1, (0.05, 1.0))
    assert spread.move(max(SEEN), 0.0) < 0 < spread.move(min(SEEN), 0.0)


def test_times_0_leaves_every_value_as_it_is():
    spread = spread_of(SEEN, 0.1, (0.05, 1.0))
    assert [spread.move(own, 1.0, 0.0) for own in SEEN] == pytest.approx([0.0] * len(SEEN))


def test_values_that_are_all_alike_still_vary_by_the_least():
    spread = spread_of([1.5] * 6, 0.1, (0.05, 1.0))
    assert spread.move(1.5, 1.0) == pytest.approx(0.05)


def test_one_value_alone_varies_by_what_is_told():
    assert spread_of([1.5], 0.1, (0.0, 0.05)).move(1.5, -1.0) == pytest.approx(-0.1)
