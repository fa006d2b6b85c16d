"""The blend bank: ways to lay a concept's pixels over a background, all as plain functions on small windows.

Every blend gets a ``BlendRegion`` and returns the window's new tones [h, w, c]; only those under the mask are
used. Which blend suits a concept is not decided here: see ``datagen.synthesis.composite.appearance.appearance_model``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.composite.extraction.background_inpainting import membrane
from datagen.synthesis.intensity import Bools, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendRegion:
    """What a blend needs: tones [h, w, c], mask [h, w], ``fade`` and ``opacity`` [h, w, 1] in 0..1.

    ``patch`` and ``clean`` are the concept's window with and without it; ``opacity`` is how much of a photographed
    pixel is the concept: through the rest shines what it was photographed on. ``fade`` is how far the concept is let
    in at the mask's edge. ``slope`` is how far the concept's tone follows its surroundings', from 0 (not at all) to 1
    (wholly).
    """

    background: Floats
    patch: Floats
    clean: Floats
    mask: Bools
    fade: Floats
    opacity: Floats | float = 1.0
    slope: float = 0.0

    @property
    def own(self) -> Floats:
        """The concept's tones [h, w, c], with the new background in place of the old where that shines through.

        The compositing equation with a known background on both sides (Smith and Blinn 1996): no halo of the old one.
        """
        return np.asarray(self.patch + (1 - self.opacity) * (self.background - self.clean), np.float32)


Blend = Callable[[BlendRegion], Floats]


def hard(laying: BlendRegion) -> Floats:
    """The concept's own tones with a hard edge: what two-level pictures and sharp cuts have."""
    return laying.own


def soft(laying: BlendRegion) -> Floats:
    """The concept's own tones, faded at the edge: for what has an absolute tone, such as a hole."""
    return np.asarray(laying.background + laying.fade * (laying.own - laying.background))


def residual(laying: BlendRegion) -> Floats:
    """The concept's difference from its own clean surroundings, added: for what adds to or takes from what is there."""
    return np.asarray(laying.background + laying.fade * (laying.patch - laying.clean))


def ratio(laying: BlendRegion) -> Floats:
    """The concept as a factor on what it lies on: for shade, stain, and all that the light is multiplied by."""
    # 8 tones keep a nearly black surrounding from exploding the factor
    factor = np.clip((laying.patch + 8) / (laying.clean + 8), 0.05, 4.0)
    return np.asarray(laying.background * (1 + laying.fade * (factor - 1)))


def following(laying: BlendRegion) -> Floats:
    """The concept's tones, shifted by as much as the measured law says that they follow their surroundings'."""
    shift = _smooth(laying.background, laying.mask) - _smooth(laying.clean, laying.mask)
    wanted = laying.own + laying.opacity * laying.slope * shift
    return np.asarray(laying.background + laying.fade * (wanted - laying.background))


def gradient(laying: BlendRegion) -> Floats:
    """Poisson blending (Pérez et al. 2003), solved as Poisson blending is a membrane (Farbman et al. 2009).

    The concept's tones plus the smooth membrane through what the background differs by along the mask's edge. Nothing
    is eroded, and the window's own border needs no margin.
    """
    return np.asarray(laying.patch + membrane(laying.background - laying.patch, ~laying.mask))


def two_level(laying: BlendRegion) -> Floats:
    """For pictures of two tones: the other tone wherever the concept has another than its clean surroundings."""
    low, high = (float(v) for v in np.quantile(laying.background, (0.02, 0.98)))
    if high - low < 32:  # a window of one tone: the concept's own window knows the other
        low, high = (float(v) for v in np.quantile(laying.patch, (0.02, 0.98)))
    middle = 0.5 * (low + high)
    differs = (laying.patch > middle) != (laying.clean > middle)
    return np.where(differs, np.where(laying.patch > middle, high, low), laying.background).astype(np.float32)


BLENDS: dict[str, Blend] = {
    "hard": hard,
    "soft": soft,
    "residual": residual,
    "ratio": ratio,
    "following": following,
    "gradient": gradient,
    "two-level": two_level,
}


def _smooth(tones: Floats, mask: Bools) -> Floats:
    """The mean tone of the mask's place, [1, 1, c]: what a concept's tone may follow, without texture."""
    weight = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.asarray(tones[weight].mean(axis=0)[None, None], np.float32)
