"""The blend bank: ways to lay a concept's pixels over a background, all as plain functions on small windows.

Every blend gets the background's window, the concept's pixels, the same window of its photo without the concept, and
how much each pixel belongs to the concept; it returns the new window. Which one suits is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datagen.synthesis.tones import Floats

#: (background, patch, clean) [h, w, c] in tones and alpha [h, w, 1] in 0..1 → the blended window [h, w, c]
Blend = Callable[[Floats, Floats, Floats, Floats], Floats]


def soft(background: Floats, patch: Floats, _clean: Floats, alpha: Floats) -> Floats:
    """The concept's own tones, faded at the edge: for what has an absolute tone, such as a hole."""
    return np.asarray(background + alpha * (patch - background))


def residual(background: Floats, patch: Floats, clean: Floats, alpha: Floats) -> Floats:
    """The concept's difference from its own clean surroundings, added: for what adds to or takes from what it is on."""
    return np.asarray(background + alpha * (patch - clean))


def ratio(background: Floats, patch: Floats, clean: Floats, alpha: Floats) -> Floats:
    """The concept as a factor on what it lies on: for shade, stain, and anything the light is multiplied by."""
    # 8 tones keep a nearly black surrounding from exploding the factor
    return np.asarray(background * (1 + alpha * ((patch + 8) / (clean + 8) - 1)))


BLENDS: dict[str, Blend] = {"soft": soft, "residual": residual, "ratio": ratio}


def contrast_to_noise(before: Floats, after: Floats, alpha: Floats, noise: float) -> float:
    """How well the change inside the mask can be seen: its root mean square over the background's noise."""
    inside = alpha[:, :, 0] > 0.5
    if not inside.any():
        inside = alpha[:, :, 0] > 0
    change = np.square(after - before).mean(axis=2)
    return float(np.sqrt(change[inside].mean())) / max(noise, 0.5) if inside.any() else 0.0
