"""The blend bank: the effect of each blend on a concept with a known mixture with its surroundings."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.synthesis.composite.appearance.blending import BLENDS, BlendRegion
from datagen.synthesis.composite.extraction.matting import unmixed

#: What the concept was photographed on, what it is laid on, and its own tone.
OLD, NEW, OWN = 200.0, 60.0, 20.0


def plane(tone):
    return np.full((40, 40, 1), tone, np.float32)


@pytest.fixture
def opacity():
    """A disc with an edge four pixels wide, [h, w, 1]."""
    disc = np.zeros((40, 40), np.float32)
    cv2.circle(disc, (20, 20), 9, 1.0, -1)
    return cv2.blur(disc, (5, 5))[:, :, None]


@pytest.fixture
def laying(opacity):
    return BlendRegion(
        background=plane(NEW),
        patch=OLD + opacity * (OWN - plane(OLD)),
        clean=plane(OLD),
        mask=opacity[:, :, 0] > 0,
        fade=np.ones_like(opacity),
        opacity=opacity,
    )


@pytest.mark.parametrize("name", ["hard", "soft", "following"])
def test_what_it_was_photographed_on_makes_no_halo(name, laying, opacity):
    """Bright surroundings of the photo that shone through its edge must not come along onto a dark background."""
    expected = NEW + opacity * (OWN - NEW)
    assert np.abs(BLENDS[name](laying) - expected).max() < 0.01


@pytest.mark.parametrize("name", ["residual", "ratio"])
def test_a_faded_edge_is_not_faded_twice(name, laying, opacity):
    changed = np.abs(BLENDS[name](laying) - laying.background)
    rim = (opacity > 0.2) & (opacity < 0.8)
    assert (changed[rim] >= 0.9 * (opacity * changed.max())[rim]).all()


@pytest.mark.parametrize("name", ["hard", "soft", "residual", "ratio", "following"])
def test_a_concept_laid_where_it_came_from_is_as_photographed(name, laying):
    back = BlendRegion(
        background=laying.clean,
        patch=laying.patch,
        clean=laying.clean,
        mask=laying.mask,
        fade=laying.fade,
        opacity=laying.opacity,
    )
    # a ratio is bounded near black, by 8 tones
    assert np.abs(BLENDS[name](back) - laying.patch).max() < (8 if name == "ratio" else 0.01)


@pytest.mark.parametrize("soft", [True, False])
def test_the_mixture_at_an_edge_is_read_off_the_photo(soft, laying, opacity):
    mask = opacity[:, :, 0] > 0.05
    share, thing = unmixed(laying.patch, laying.clean, mask, mask, soft=soft)
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    assert share[depth > 5].min() == 1
    rim = mask & (depth <= 2)
    assert np.abs(share - opacity[:, :, 0])[rim].max() < (0.45 if soft else 0.3)
    assert np.abs(thing - laying.patch)[mask].max() < 1


def test_a_halo_the_other_way_is_no_part_of_the_thing(laying, opacity):
    """A bright rim round a dark object, where the background was not filled exactly, is not part of the object."""
    mask = opacity[:, :, 0] > 0
    halo = (mask & (opacity[:, :, 0] < 0.1))[:, :, None]
    photo = np.where(halo, 250, laying.patch).astype(np.float32)
    share, thing = unmixed(photo, laying.clean, mask, mask, soft=False)
    assert share[halo[:, :, 0]].max() < 0.1
    # the halo was 50 tones; the rest of it is the object's own fringe, blurred by the lens
    assert np.median((thing - laying.clean)[halo]) < 20
