"""The mask of a segmentation model as one more matte of a box."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.evaluation.metrics import mask_iou
from datagen.synthesis.composite.extraction.exemplars import candidates, cut_out
from datagen.synthesis.composite.extraction.matting import SEGMENTED
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.suggestions import CompositeSuggester
from datagen.synthesis.diffusion.training.dataset import examples_of
from datagen.synthesis.engine import load_engine

BOX = Box(60, 30, 40, 40)


class FakeSegmenter:
    """Answers with the masks that the test gives, and remembers the boxes that it was asked for."""

    description = "a fake"

    def __init__(self, *masks):
        self.masks_given, self.asked = masks, []

    def masks(self, picture, boxes):
        self.asked.append(list(boxes))
        for mask, _ in zip(self.masks_given, boxes, strict=True):
            assert mask.shape == picture.shape[:2]
            yield mask


def photo_of(picture, *regions):
    ref = ImageRef(digest="d" * 64, width=picture.shape[1], height=picture.shape[0], name="photo")
    return ConceptImage(image=ref, regions=regions)


def region(box=BOX, outline=()):
    return ConceptRegion(label="x", box=box, outline=outline)


@pytest.fixture
def halves():
    """A photo of a thing of two tones on grain, and its mask; by tones alone, its paler half is left out."""
    chance = np.random.default_rng(3)
    tones = chance.normal(140, 6, (100, 160))
    mask = np.zeros((100, 160), bool)
    mask[36:64, 66:94] = True
    tones[36:64, 66:80] -= 70
    tones[36:64, 80:94] -= 20
    return np.clip(tones, 0, 255).astype(np.uint8), mask


def test_mask_of_the_model_becomes_the_matte_where_the_tones_show_half_of_the_thing(halves):
    picture, mask = halves
    photo = photo_of(picture, region())
    (without,), _ = cut_out(photo, picture, {})
    assert mask_iou(without.mask, mask[without.frame.slices]) < 0.7
    (exemplar,), _ = cut_out(photo, picture, {}, segmenter=FakeSegmenter(mask))
    assert exemplar.method == SEGMENTED
    assert mask_iou(exemplar.mask, mask[exemplar.frame.slices]) > 0.9


def test_mask_that_the_pixels_contradict_is_not_preferred(halves):
    picture, _ = halves
    beside = np.zeros(picture.shape, bool)
    beside[31:36, 61:99] = True
    (exemplar,), _ = cut_out(photo_of(picture, region()), picture, {}, segmenter=FakeSegmenter(beside))
    assert exemplar.method != SEGMENTED


@pytest.mark.parametrize("fill", [False, True])
def test_mask_that_is_empty_or_the_whole_picture_is_no_matte(halves, fill):
    picture, _ = halves
    of_no_use = np.full(picture.shape, fill)
    (candidate,), _ = candidates(photo_of(picture, region()), picture, segmenter=FakeSegmenter(of_no_use))
    assert SEGMENTED not in [matte.method for matte in candidate.ranked]


def test_model_is_asked_once_a_photo_and_only_for_boxes_without_an_outline(halves):
    picture, mask = halves
    drawn = region(outline=(Polygon(((66, 36), (94, 36), (94, 64), (66, 64))),))
    outside, second = region(Box(500, 500, 10, 10)), region(Box(10, 10, 20, 20))
    segmenter = FakeSegmenter(mask, mask)
    extracted, _ = candidates(photo_of(picture, drawn, region(), outside, second), picture, segmenter=segmenter)
    assert segmenter.asked == [[BOX, Box(10, 10, 20, 20)]]
    assert [SEGMENTED in [matte.method for matte in candidate.ranked] for candidate in extracted] == [
        False,
        True,
        False,
    ]


def test_outlines_suggested_to_annotators_are_those_of_the_model(halves, monkeypatch):
    picture, mask = halves

    class OnePicture:
        def load(self, _ref):
            return picture

    monkeypatch.setattr(
        "datagen.synthesis.composite.suggestions.load_segmenter", lambda name: FakeSegmenter(mask) if name else None
    )
    right_edges = []
    for parameters in ({}, {"segmenter": "a model"}):
        suggester = load_engine("composite").suggester(parameters, (), (), (), OnePicture())
        assert isinstance(suggester, CompositeSuggester)
        assert suggester.basis == parameters.get("segmenter", "")
        (suggested,) = suggester.outlines(photo_of(picture, region()))
        right_edges.append(max(x for polygon in suggested.outline for x, _ in polygon.points))
    assert right_edges[0] < 85
    assert right_edges[1] > 90


class Discs:
    """Returns the mask of the dark part of the disc that a study has in each box."""

    description = "a model of discs"

    def masks(self, picture, boxes):
        for box in boxes:
            rows, columns = np.indices(picture.shape[:2])
            x, y, radius = box.x + box.width / 2 - 0.5, box.y + box.height / 2 - 0.5, (box.width - 5) / 2
            yield np.hypot(columns - x, rows - y) <= radius


@pytest.fixture
def grained(study):
    """The function that makes a study with grain on its discs, which are of more than two tones then."""

    def make(**parameters):
        spec, shelf = study(concepts=2, canvases=2, backgrounds=2, parameters=parameters)
        for concept in spec.concepts:
            picture = shelf.pictures[concept.image.digest]
            grain = np.random.default_rng(1).normal(0, 9, picture.shape)
            shelf.pictures[concept.image.digest] = np.clip(picture + grain, 0, 255).astype(np.uint8)
        return spec, shelf

    return make


def test_fit_uses_the_model_that_the_parameters_name_and_reports_it(grained, monkeypatch):
    named = []
    monkeypatch.setattr("datagen.synthesis.composite.engine.load_segmenter", lambda name: named.append(name) or Discs())
    spec, shelf = grained(segmenter="a model")
    details = load_engine("composite").fit(spec, shelf, lambda _share, _step: None).report.details
    assert named == ["a model"]
    assert "A segmentation model proposed one more matte for each box: a model of discs." in details
    assert "pit: cut out by segmentation model (2)." in details


def test_diffusion_learns_from_the_mattes_of_the_model_too(grained, monkeypatch):
    module = "datagen.synthesis.diffusion.training.dataset"
    monkeypatch.setattr(f"{module}.load_segmenter", lambda name: Discs() if name else None)
    spec, shelf = grained()
    for name, uses in (("", False), ("a model", True)):
        examples = examples_of(spec, shelf, CompositeParameters(segmenter=name))
        assert [example.exemplar.method == SEGMENTED for example in examples] == [uses, uses]
