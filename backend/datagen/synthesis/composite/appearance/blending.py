"""Blend functions: methods to combine a concept's pixels with a background, on small windows.

Every blend takes a ``BlendRegion`` and returns the new tones [h, w, c] of the window. Callers use the tones under the
mask only. ``datagen.synthesis.composite.appearance.appearance_model`` chooses the blends that suit a concept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.composite.extraction.background_inpainting import membrane
from datagen.synthesis.intensity import Bools, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendRegion:
    """The input of a blend: tones [h, w, c], mask [h, w], ``fade`` and ``opacity`` [h, w, 1] in 0..1.

    ``background`` is the window of the new picture. ``patch`` and ``clean`` are the concept's window with and without
    the concept. ``opacity`` is the concept's share of a photographed pixel; the rest of the pixel is its original
    background. An ``opacity`` of the number 1 means that every pixel is opaque. ``fade`` is the blending weight of the
    concept, which decreases at the mask's edge. ``slope`` is the degree to which the concept's tone follows its
    surroundings, from 0 (not at all) to 1 (fully).
    """

    background: Floats
    patch: Floats
    clean: Floats
    mask: Bools
    fade: Floats
    opacity: Floats | float = 1.0
    slope: float = 0.0

    def cropped(self, window: tuple[slice, slice]) -> BlendRegion:
        """Return the input of a blend for a part of the window."""
        return BlendRegion(
            background=self.background[window],
            patch=self.patch[window],
            clean=self.clean[window],
            mask=self.mask[window],
            fade=self.fade[window],
            opacity=self.opacity if isinstance(self.opacity, float) else self.opacity[window],
            slope=self.slope,
        )

    @property
    def own(self) -> Floats:
        """Return the concept's tones [h, w, c]; in mixed pixels, the new background replaces the original background.

        This is the compositing equation with known backgrounds (Smith and Blinn 1996). It avoids a halo of the original
        background.
        """
        return np.asarray(self.patch + (1 - self.opacity) * (self.background - self.clean), np.float32)


Blend = Callable[[BlendRegion], Floats]


def hard(region: BlendRegion) -> Floats:
    """Use the concept's tones with a hard edge, as in two-level pictures and sharp cuts."""
    return region.own


def soft(region: BlendRegion) -> Floats:
    """Use the concept's tones, faded at the edge. This suits concepts with an absolute tone, such as holes."""
    return np.asarray(region.background + region.fade * (region.own - region.background))


def residual(region: BlendRegion) -> Floats:
    """Add the concept's difference from its clean surroundings.

    This suits concepts that lighten or darken a background.
    """
    return np.asarray(region.background + region.fade * (region.patch - region.clean))


def ratio(region: BlendRegion) -> Floats:
    """Multiply the background by the ratio of ``patch`` to ``clean``.

    This suits shade, stains and other losses of light.
    """
    # an offset of 8 tones bounds the factor on nearly black surroundings
    factor = np.clip((region.patch + 8) / (region.clean + 8), 0.05, 4.0)
    return np.asarray(region.background * (1 + region.fade * (factor - 1)))


def following(region: BlendRegion) -> Floats:
    """Use the concept's tones, shifted as far as the concept follows its surroundings.

    The shift is ``slope`` times the difference in mean tone between the new and the original surroundings.
    """
    shift = _mean_tone(region.background, region.mask) - _mean_tone(region.clean, region.mask)
    wanted = region.own + region.opacity * region.slope * shift
    return np.asarray(region.background + region.fade * (wanted - region.background))


def gradient(region: BlendRegion) -> Floats:
    """Apply Poisson blending (Pérez et al. 2003), computed by a membrane (Farbman et al. 2009).

    The result is the concept's tones plus a smooth membrane. Along the mask's edge, the membrane equals the difference
    of the new background from the concept's photo. The mask is not eroded, and the window needs no margin at its
    border.
    """
    return np.asarray(region.patch + membrane(region.background - region.patch, ~region.mask))


def two_level(region: BlendRegion) -> Floats:
    """Exchange the two tones of a two-level picture where the concept's tone differs from its clean surroundings."""
    low, high = (float(v) for v in np.quantile(region.background, (0.02, 0.98)))
    if high - low < 32:  # a window of a single tone: take both tones from the concept's window
        low, high = (float(v) for v in np.quantile(region.patch, (0.02, 0.98)))
    middle = 0.5 * (low + high)
    differs = (region.patch > middle) != (region.clean > middle)
    return np.where(differs, np.where(region.patch > middle, high, low), region.background).astype(np.float32)


BLENDS: dict[str, Blend] = {
    "hard": hard,
    "soft": soft,
    "residual": residual,
    "ratio": ratio,
    "following": following,
    "gradient": gradient,
    "two-level": two_level,
}


def _mean_tone(tones: Floats, mask: Bools) -> Floats:
    """Return the mean tone at the mask, [1, 1, c], which is the surroundings' tone without their texture."""
    weight = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.asarray(tones[weight].mean(axis=0)[None, None], np.float32)
