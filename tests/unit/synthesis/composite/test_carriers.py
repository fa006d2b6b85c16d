"""Concepts at the edge of their carrier, and concepts cut off by their photo's border, on small drawn pictures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion
from datagen.domain.spec import Spec
from datagen.synthesis.engine import load_engine
from synthesis_studies import Shelf

HEIGHT, WIDTH = 144, 200
WHITE, GREEN, BROWN = (236, 234, 238), (60, 130, 50), (110, 62, 30)
SAMPLES = 16


def leaf(seed, *, x=100, y=72, radius=58):
    """A green disc on white paper, both with noise, and the disc's true mask."""
    chance = np.random.default_rng(seed)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (x, y), radius, 1, -1)
    tones = np.where(mask[:, :, None] > 0, GREEN, WHITE) + chance.normal(0, 3, (HEIGHT, WIDTH, 3))
    return np.clip(np.rint(tones), 0, 255).astype(np.uint8), mask > 0


def spotted(picture, carrier, x, y, radius=12, colour=BROWN):
    """A copy of the picture with a disc that ends at the carrier's edge, and the tight box of what is visible."""
    disc = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(disc, (x, y), radius, 1, -1)
    visible = (disc > 0) & carrier
    copy = picture.copy()
    copy[visible] = np.clip(colour + np.random.default_rng(x).normal(0, 3, (int(visible.sum()), 3)), 0, 255)
    left, top, width, height = cv2.boundingRect(visible.astype(np.uint8))
    left, top, right, bottom = max(0, left - 2), max(0, top - 2), left + width + 2, top + height + 2
    return copy, Box(left, top, min(right, WIDTH) - left, min(bottom, HEIGHT) - top)


def at_angle(degrees, x=100, y=72, radius=58):
    """A point on the leaf's rim."""
    return round(x + radius * np.cos(np.deg2rad(degrees))), round(y + radius * np.sin(np.deg2rad(degrees)))


def circle_polygon(x=100, y=72, radius=58):
    return Polygon(
        tuple((x + radius * np.cos(a), y + radius * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 40, endpoint=False))
    )


def whole_picture():
    return Polygon(((0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)))


class Study:
    """A study of spots on leaves; ``carriers`` holds the true leaf of every background by its name."""

    def __init__(self, spots, *, backgrounds=None, canvases=3, everywhere=False, parameters=None):
        self.shelf, self.carriers, concepts = Shelf(), {}, []
        for number, (picture, box) in enumerate(spots):
            ref = self.shelf.add(picture, f"concept {number}")
            concepts.append(ConceptImage(image=ref, regions=(ConceptRegion(label="spot", box=box),)))
        drawn = []
        for number in range(canvases):
            place = {"x": 80 + 8 * number, "radius": 50 + 2 * number}
            ref = self.shelf.add(leaf(100 + number, **place)[0], f"canvas {number}")
            polygon = whole_picture() if everywhere else circle_polygon(**place)
            drawn.append(CanvasImage(image=ref, areas=(CanvasArea(polygon=polygon),)))
        refs = []
        backgrounds = backgrounds or [leaf(200 + n, x=90 + 5 * n, radius=55 + n) for n in range(5)]
        for number, (picture, carrier) in enumerate(backgrounds):
            refs.append(self.shelf.add(picture, f"background {number}"))
            self.carriers[f"background {number}"] = carrier
        self.spec = Spec(
            engine="composite",
            labels=("spot",),
            concepts=tuple(concepts),
            canvases=tuple(drawn),
            backgrounds=tuple(refs),
            parameters=parameters or {},
            seed=0,
        )

    def fit(self):
        return load_engine("composite").fit(self.spec, self.shelf, lambda done, step: None)

    def background(self, sample):
        ref = sample.provenance.background
        return self.shelf.pictures[ref.digest], self.carriers[ref.name]


def edge_of(sample):
    return sample.provenance.trace.instances[0].details.get("edge")


def whitish(image):
    return image.astype(int).min(axis=2) > 170


def near(mask, pixels):
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)) > 0


def rim_spots(angles=(10, 75, 160, 250, 320)):
    spots = []
    for number, angle in enumerate(angles):
        picture, carrier = leaf(number)
        spots.append(spotted(picture, carrier, *at_angle(angle)))
    return spots


def inner_spots(places=((90, 60), (110, 80), (100, 90))):
    return [spotted(*leaf(50 + n), x, y) for n, (x, y) in enumerate(places)]


def test_spot_on_a_rim_is_placed_at_a_rim_without_its_backdrop():
    study = Study(rim_spots())
    fitted = study.fit()
    samples = list(fitted.render(range(SAMPLES)))
    assert any("5 of 5 examples lie at the edge" in finding for finding in fitted.report.findings)
    at_edge = [sample for sample in samples if edge_of(sample) == "carrier"]
    assert len(at_edge) >= SAMPLES * 3 // 4
    for sample in samples:
        _, carrier = study.background(sample)
        mask = sample.mask > 0
        assert not (whitish(sample.image) & mask).any()
        assert not (mask & ~carrier).any(), "the background's own edge is moved"
    for sample in at_edge:
        _, carrier = study.background(sample)
        mask = sample.mask > 0
        assert near(~carrier, 3)[mask].any(), "it is not at the edge"
        ys, xs = mask.nonzero()
        outward = np.array([xs.mean(), ys.mean()]) - np.argwhere(carrier).mean(axis=0)[::-1]
        beside = near(mask, 3) & ~carrier
        direction = np.argwhere(beside).mean(axis=0)[::-1] - (xs.mean(), ys.mean())
        assert direction @ outward > 0, "its outer side is turned inward"


def test_spot_on_a_rim_leaves_its_backdrop_out_where_no_background_has_such_an_edge():
    plain = [(leaf(300 + n, radius=200)[0], np.ones((HEIGHT, WIDTH), bool)) for n in range(3)]
    study = Study(rim_spots(), backgrounds=plain)
    fitted = study.fit()
    samples = list(fitted.render(range(8)))
    assert {edge_of(sample) for sample in samples} == {"left out"}
    assert not any((whitish(sample.image)).any() for sample in samples)
    assert any("no edge of the carrier suits it" in line for line in fitted.report.details)


def test_spots_inside_the_carrier_are_placed_without_an_edge():
    study = Study(inner_spots())
    fitted = study.fit()
    for sample in fitted.render(range(8)):
        _, carrier = study.background(sample)
        assert edge_of(sample) is None
        assert not ((sample.mask > 0) & ~carrier).any()
    assert not any("edge of what" in finding for finding in fitted.report.findings)


def test_white_spot_inside_a_leaf_is_not_taken_for_the_paper():
    study = Study([spotted(*leaf(60 + n), x, y, colour=WHITE) for n, (x, y) in enumerate(((90, 60), (112, 80)))])
    for sample in study.fit().render(range(6)):
        assert (whitish(sample.image) & (sample.mask > 0)).sum() > 0.5 * (sample.mask > 0).sum()


def notched(seed, angle, radius=14):
    """A leaf with a bite out of its rim, and a box round the bite."""
    picture, carrier = leaf(seed)
    x, y = at_angle(angle)
    bite = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(bite, (x, y), radius, 1, -1)
    copy = picture.copy()
    paper = leaf(seed + 900, radius=1)[0]
    copy[(bite > 0) & carrier] = paper[(bite > 0) & carrier]
    left, top, width, height = cv2.boundingRect(((bite > 0) & carrier).astype(np.uint8))
    return copy, Box(left - 2, top - 2, width + 4, height + 4)


def test_notch_opens_to_the_backdrop_of_another_edge():
    study = Study([notched(n, angle) for n, angle in enumerate((0, 80, 170, 265))])
    samples = list(study.fit().render(range(12)))
    assert [edge_of(sample) for sample in samples] == ["carrier"] * 12
    for sample in samples:
        _, carrier = study.background(sample)
        open_paper = (whitish(sample.image)).astype(np.uint8)
        _, parts = cv2.connectedComponents(open_paper, connectivity=8)
        inside = np.unique(parts[carrier & (parts > 0)])
        for part in inside:
            assert ((parts == part) & ~carrier).any(), "a piece of paper lies inside the leaf"
        bitten = whitish(sample.image) & (sample.mask > 0) & carrier
        assert bitten.sum() > 40


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_concept_cut_off_by_a_border_is_placed_at_that_border(side):
    x, y = {"left": (0, 70), "right": (WIDTH - 1, 70), "top": (90, 0), "bottom": (90, HEIGHT - 1)}[side]
    plate, whole = leaf(1, radius=300)
    spots = [spotted(plate, whole, x, y, radius=10 + n) for n in range(3)]
    study = Study(spots, backgrounds=[leaf(400 + n, radius=300) for n in range(3)], everywhere=True)
    fitted = study.fit()
    assert any("border of the photo cuts off 3 of 3" in finding for finding in fitted.report.findings)
    for sample in fitted.render(range(10)):
        trace = sample.provenance.trace.instances[0]
        swapped = {"left": "right", "right": "left"}.get(side, side) if trace.mirrored else side
        assert trace.degrees == 0
        assert edge_of(sample) == f"border: {swapped}"
        mask = sample.mask > 0
        rim = {"left": mask[:, 0], "right": mask[:, -1], "top": mask[0], "bottom": mask[-1]}[swapped]
        assert rim.sum() >= 10, "it does not reach the border with its cut side"


def test_concept_cut_off_by_two_neighbouring_borders_is_placed_in_such_a_corner():
    plate, whole = leaf(1, radius=300)
    spots = [spotted(plate, whole, 0, 0, radius=14)]
    study = Study(spots, backgrounds=[leaf(400 + n, radius=300) for n in range(3)], everywhere=True)
    for sample in study.fit().render(range(8)):
        mask = sample.mask > 0
        corner = mask[0, -1] if sample.provenance.trace.instances[0].mirrored else mask[0, 0]
        assert corner


def banded(seed):
    """A band from the top border to the bottom one."""
    plate, _ = leaf(seed, radius=300)
    plate[:, 90:104] = BROWN
    return plate, Box(88, 0, 18, HEIGHT)


def test_concept_cut_off_by_opposite_borders_is_left_out_and_the_rest_is_used():
    plate, whole = leaf(1, radius=300)
    study = Study([banded(2), spotted(plate, whole, 90, 70)], everywhere=True)
    fitted = study.fit()
    (warning,) = (line for line in fitted.report.warnings if "top, bottom borders" in line)
    assert "concept 0, box 1" in warning
    assert "left out" in warning
    names = {sample.provenance.trace.instances[0].concept.name for sample in fitted.render(range(6))}
    assert names == {"concept 1"}


def test_concept_cut_off_by_opposite_borders_is_used_if_there_is_no_other():
    large = [(np.tile(leaf(400, radius=300)[0], (2, 2, 1)), np.ones((2 * HEIGHT, 2 * WIDTH), bool))]
    study = Study([banded(2)], backgrounds=large, everywhere=True)
    fitted = study.fit()
    assert any("placed anywhere, with straight edges" in line for line in fitted.report.warnings)
    assert len(list(fitted.render(range(2)))) == 2


def test_canvas_that_contradicts_the_others_is_named_and_the_rest_is_used():
    study = Study(rim_spots())
    wrong = CanvasImage(
        image=study.spec.canvases[0].image,
        areas=(CanvasArea(polygon=Polygon(((0, 0), (WIDTH, 0), (WIDTH, 14), (0, 14)))),),
    )
    study.spec = replace(study.spec, canvases=(wrong, *study.spec.canvases[1:]))
    fitted = study.fit()
    (warning,) = (line for line in fitted.report.warnings if "canvas 0" in line)
    assert "Check its polygons" in warning
    assert any("5 of 5 examples lie at the edge" in finding for finding in fitted.report.findings)


def test_concept_on_the_backdrop_is_named_and_the_rest_is_used():
    picture, _ = leaf(7, x=60, radius=40)
    astray = spotted(picture, np.ones((HEIGHT, WIDTH), bool), 165, 70)
    study = Study([astray, *inner_spots()])
    fitted = study.fit()
    (warning,) = (line for line in fitted.report.warnings if "concept 0, box 1" in line)
    assert "polygons" in warning
    assert any("4 examples are used" in finding for finding in fitted.report.findings)
    assert len(list(fitted.render(range(4)))) == 4
