"""Colours that a concept may have after blending: those of its photos, of the background, and in between.

Some blends add a difference of tones to a background with other tones, and the sum can leave this range. For example, a
brown spot minus the green of its bright leaf, added to a dark leaf, gives blue. Such a result keeps its lightness and
gets the concept's own colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.intensity import Bools, Floats

#: Tones added to the divisor in ``colour``, so that noise on nearly black pixels counts as almost no colour.
_DARK = 16.0
#: A colour may exceed the range of the photographed colours and the background's colour by at most this much.
_MARGIN = 0.1
#: Minimum mean absolute colour of a colour photo; a grey photo stored with three channels has less.
_COLOURED = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourRange:
    """The smallest and largest mean colour of a label's concepts, each [3].

    The function ``colour`` defines a colour.
    """

    low: Floats
    high: Floats


def learn_colour_range(exemplars: Sequence[Exemplar]) -> ColourRange | None:
    """Return the colour range of one label's exemplars; None if their photos are grey."""
    coloured = [e for e in exemplars if e.patch.shape[2] == 3]
    if not coloured or max(float(np.abs(colour(e.patch)).mean()) for e in coloured) < _COLOURED:
        return None
    means = np.stack([colour(e.patch[e.mask].mean(axis=0)) for e in coloured])
    return ColourRange(low=means.min(axis=0), high=means.max(axis=0))


def colour(tones: Floats) -> Floats:
    """Return the colour of tones [..., 3], which does not depend on their lightness.

    The lightness is the mean over the channels. The colour is the difference of each channel from the lightness,
    divided by the lightness.
    """
    lightness = tones.mean(axis=-1, keepdims=True)
    return np.asarray((tones - lightness) / (lightness + _DARK), np.float32)


def in_range(tones: Floats, before: Floats, mask: Bools, seen: ColourRange) -> bool:
    """Return whether the mean colour at the mask lies in the range, extended to the background's colour there.

    Args:
        tones: the window after blending, [h, w, 3].
        before: the window of the background, [h, w, 3].
        mask: the instance's mask, [h, w].
        seen: the range of the photographed colours.
    """
    own, behind = (colour(window[mask].mean(axis=0)) for window in (tones, before))
    low, high = np.minimum(seen.low, behind), np.maximum(seen.high, behind)
    return bool(((own >= low - _MARGIN) & (own <= high + _MARGIN)).all())


def recoloured(tones: Floats, patch: Floats, fade: Floats) -> Floats:
    """Return ``tones`` with their own lightness and the colour of ``patch``.

    ``fade`` [h, w, 1] is the share of the change, from 0 to 1.
    """
    own = tones.mean(axis=2, keepdims=True) * (1 + colour(patch))
    return np.asarray(np.clip(tones + fade * (own - tones), 0, 255), np.float32)
