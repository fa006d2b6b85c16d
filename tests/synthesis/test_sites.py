"""What the concepts' own places say of the area drawn on the canvases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.synthesis.area import ANYWHERE, fit_area
from datagen.synthesis.exemplars import candidates
from datagen.synthesis.sites import site, widened


def photo(picture, box, name):
    ref = ImageRef(digest=name * 8, width=picture.shape[1], height=picture.shape[0], name=name)
    return ConceptImage(image=ref, regions=(ConceptRegion(label="pit", box=box),))


@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
@pytest.mark.parametrize("scale", [1, 3])
def test_a_site_is_the_photo_without_the_thing_in_it(plates, disc, kind, scale):
    picture, _ = disc(plates(3, kind=kind, height=96 * scale, width=128 * scale), 90 * scale, 50 * scale, 9 * scale)
    before = picture.copy()
    box = Box(76 * scale, 36 * scale, 29 * scale, 29 * scale)
    found, _ = candidates(photo(picture, box, "photo"), picture)
    clean = site(picture, found)
    assert max(clean.picture.shape[:2]) == 128
    assert clean.picture.dtype == picture.dtype
    (reduced,) = clean.boxes.values()
    assert (reduced.x, reduced.width) == pytest.approx((76, 29))
    tones = clean.picture / (257 if kind == "deep" else 1)
    inside = tones[38:62, 78:102]
    assert inside.min() > 60  # the disc is 30
    assert np.array_equal(picture, before)


def bright_half(plates):
    drawn = []
    for number in range(5):
        picture = plates(number)
        area = np.zeros(picture.shape[:2], bool)
        area[:, 64:] = True
        drawn.append((picture, area))
    return fit_area(drawn)


def sites_at(plates, disc, columns):
    made = []
    for number, x in enumerate(columns):
        picture, _ = disc(plates(50 + number), x, 48, 6)
        found, _ = candidates(photo(picture, Box(x - 8, 40, 17, 17), f"photo{number:03}"), picture)
        made.append(site(picture, found))
    return made, [key for one in made for key in one.boxes]


def test_an_area_that_holds_the_concepts_own_places_is_left_as_drawn(plates, disc):
    model = bright_half(plates)
    sites, keys = sites_at(plates, disc, (85, 90, 95, 100, 105))
    found, outside, count = widened(model, sites, keys)
    assert (found.threshold, outside, count) == (model.threshold, 0, 5)


def test_an_area_that_leaves_them_out_is_widened_but_never_beyond_half_its_threshold(plates, disc):
    model = bright_half(plates)
    sites, keys = sites_at(plates, disc, (30, 35, 40, 90, 95))
    found, outside, count = widened(model, sites, keys)
    assert (outside, count) == (3, 5)
    assert found.threshold == pytest.approx(0.5 * model.threshold)


def test_too_few_places_and_an_area_that_is_everywhere_change_nothing(plates, disc):
    sites, keys = sites_at(plates, disc, (30, 35, 40, 45))
    model = bright_half(plates)
    assert widened(model, sites[:3], keys)[0] == model
    assert widened(model, sites, ["another label's"])[0] == model
    assert widened(replace(ANYWHERE, threshold=0.4), sites, keys)[0].threshold == 0.4
