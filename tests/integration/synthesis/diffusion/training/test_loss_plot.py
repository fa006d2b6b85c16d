"""The loss curve is a picture at any length of fit."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.synthesis.diffusion.training.loss_plot import draw_curve


@pytest.mark.parametrize("losses", [[0.5], [0.5, 0.4], list(np.linspace(1, 0.1, 400))])
def test_a_curve_is_drawn_from_the_first_step_on(losses):
    picture = draw_curve(losses, 400)
    assert picture.shape == (360, 720, 3)
    assert (picture < 128).any()
