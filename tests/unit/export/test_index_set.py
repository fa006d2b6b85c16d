"""A set of sample indices: each is new once, and many take little memory."""

from __future__ import annotations

import random
import sys

from datagen.export.index_set import IndexSet


def test_index_is_new_once_in_any_order() -> None:
    indices = [*range(0, 70_000, 7), 2**15 - 1, 2**15, 10**12]
    random.Random(1).shuffle(indices)
    seen: set[int] = set()
    numbers = IndexSet()
    for index in indices * 2:
        assert numbers.add(index) == (index not in seen)
        seen.add(index)


def test_many_indices_take_an_eighth_of_a_byte_each() -> None:
    numbers = IndexSet()
    for index in range(2**17):
        numbers.add(index)
    assert sum(map(sys.getsizeof, numbers._blocks.values())) < 2**17 / 8 * 1.05
