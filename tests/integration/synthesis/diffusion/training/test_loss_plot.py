"""The plot of a fit's loss shows the losses: higher values higher up, later steps further right, at any length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from datagen.synthesis.diffusion.training.loss_plot import draw_curve

#: The plot's colours, BGR: the running mean is the only thing in blue-grey on a grey and white plot.
MEAN_LINE = (176, 86, 26)


def mean_line(losses: list[float], steps: int) -> npt.NDArray[np.int64]:
    """The pixels of the running mean, rows of (y, x) in the order of x."""
    rows, columns = np.nonzero((draw_curve(losses, steps) == MEAN_LINE).all(axis=2))
    return np.stack([rows, columns], axis=1)[np.argsort(columns, kind="stable")]


def test_falling_losses_are_drawn_from_the_upper_left_to_the_lower_right() -> None:
    line = mean_line(list(np.linspace(1.0, 0.1, 400)), 400)
    heights = [line[(line[:, 1] >= x) & (line[:, 1] < x + 60), 0].mean() for x in range(60, 600, 120)]
    assert np.all(np.diff(heights) > 20), "y grows downwards"


def test_rising_losses_are_drawn_upwards() -> None:
    line = mean_line(list(np.linspace(0.1, 1.0, 400)), 400)
    assert line[-10:, 0].mean() < line[:10, 0].mean() - 100


@pytest.mark.parametrize(("done", "share"), [(100, 0.25), (200, 0.5), (400, 1.0)])
def test_curve_covers_the_share_of_the_planned_steps_that_is_done(done: int, share: float) -> None:
    whole = mean_line([0.5] * 400, 400)
    width = np.ptp(whole[:, 1])
    assert np.ptp(mean_line([0.5] * done, 400)[:, 1]) == pytest.approx(share * width, abs=4)


def test_one_outlier_does_not_flatten_the_rest() -> None:
    losses = [0.5 + 0.4 * np.cos(step / 30) for step in range(400)]
    spread = np.ptp(mean_line(losses, 400)[:, 0])
    losses[200] = 50.0
    line = mean_line(losses, 400)
    without_outlier = line[(line[:, 1] < 350) | (line[:, 1] > 420)]
    assert np.ptp(without_outlier[:, 0]) > 0.7 * spread


def test_every_step_is_a_dot_at_its_own_loss() -> None:
    plot = draw_curve([0.2, 0.8] * 200, 400)
    rows, _ = np.nonzero((plot[50:310, 50:670] == 205).all(axis=2))  # inside the axes: text has greys too
    low, high = rows[rows > 130], rows[rows <= 130]
    assert len(low) > 400
    assert len(high) > 400
    assert max(np.ptp(low), np.ptp(high)) < 6, "two losses, two heights"


def test_first_step_alone_is_a_plot_that_names_its_loss() -> None:
    plot, other = draw_curve([0.5], 400), draw_curve([0.7], 400)
    assert plot.shape == other.shape == (360, 720, 3)
    assert (plot != other).any()
