"""A large photo is never turned into floats as a whole."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from datagen.synthesis.engine import load_engine


@pytest.mark.parametrize("kind", ["grey", "deep"])
def test_rendering_holds_little_more_than_the_photo_its_copy_and_its_mask(study, plates, kind):
    spec, shelf = study(kind=kind)
    side = 3000
    big = shelf.add(np.tile(plates(1, kind=kind), (side // 96 + 1, side // 128 + 1))[:side, :side].copy(), "big")
    fitted = load_engine("composite").fit(replace(spec, backgrounds=(big,)), shelf, lambda fraction, step: None)
    tracemalloc.start()
    sample = next(iter(fitted.render([0])))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    own = sample.image.nbytes + sample.mask.nbytes
    # one frame of floats would be 4 bytes a pixel more
    assert peak < own + 2 * side * side
