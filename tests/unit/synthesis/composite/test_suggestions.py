"""Suggestions are the outline of the object in a box, the learned area, and the boxes that match the drawn ones."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion, ImageRef
from datagen.evaluation.metrics import box_iou
from datagen.synthesis.composite.suggestions import MOST_BOXES
from datagen.synthesis.engine import load_engine
from datagen.synthesis.masks import rasterize

HEIGHT, WIDTH = 120, 160


class Shelf:
    """Pictures by their digest."""

    def __init__(self):
        self.pictures = {}

    def add(self, picture):
        digest = f"{len(self.pictures):064x}"
        self.pictures[digest] = picture
        return ImageRef(digest=digest, width=picture.shape[1], height=picture.shape[0], name=f"{digest[-3:]}.png")

    def load(self, ref):
        return self.pictures[ref.digest]


def plate(seed, split=80, pit=None):
    """Dark left of ``split``, bright right of it; a pit is a dark disc of radius 7."""
    tones = np.random.default_rng(seed).normal(0, 3, (HEIGHT, WIDTH)) + np.where(np.arange(WIDTH) < split, 70, 170)
    picture = np.clip(tones, 0, 255).astype(np.uint8)
    if pit is not None:
        cv2.circle(picture, pit, 7, 20, -1)
    return picture


def concept(shelf, picture, box, outline=()):
    return ConceptImage(image=shelf.add(picture), regions=(ConceptRegion(label="pit", box=box, outline=outline),))


def suggester(shelf, canvases=(), concepts=()):
    return load_engine("composite").suggester({}, concepts, canvases, (), shelf)


def covered(polygons, height=HEIGHT, width=WIDTH):
    return np.any([rasterize(np.asarray(polygon.points), (height, width)) for polygon in polygons], axis=0)


def test_outline_of_the_object_in_a_box_is_suggested():
    shelf = Shelf()
    picture = plate(1, pit=(120, 60))
    (proposed,) = suggester(shelf).outlines(concept(shelf, picture, Box(108, 48, 24, 24)))
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(truth, (120, 60), 7, 1, -1)
    mask = covered(proposed.outline)
    assert (mask & (truth > 0)).sum() / (mask | (truth > 0)).sum() > 0.8
    assert proposed.label == "pit"


def test_nothing_is_suggested_for_a_box_with_a_drawn_outline():
    shelf = Shelf()
    picture = plate(2, pit=(120, 60))
    drawn = (Polygon(((112, 52), (128, 52), (128, 68), (112, 68))),)
    assert suggester(shelf).outlines(concept(shelf, picture, Box(108, 48, 24, 24), drawn)) == ()


def test_box_without_a_visible_object_has_no_suggested_outline():
    shelf = Shelf()
    picture = np.full((HEIGHT, WIDTH), 128, np.uint8)
    (proposed,) = suggester(shelf).outlines(concept(shelf, picture, Box(40, 40, 24, 24)))
    assert proposed.outline == ()


def test_learned_area_is_suggested_on_a_photo_without_polygons():
    shelf = Shelf()
    splits = (60, 80, 100, 90)
    canvases = [
        CanvasImage(
            image=shelf.add(plate(10 + number, split)),
            areas=(CanvasArea(polygon=Polygon(((split, 0), (WIDTH, 0), (WIDTH, HEIGHT), (split, HEIGHT)))),),
        )
        for number, split in enumerate(splits)
    ]
    mask = covered(suggester(shelf, canvases).area(shelf.add(plate(99, split=70))))
    truth = np.broadcast_to(np.arange(WIDTH) >= 70, (HEIGHT, WIDTH))
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


def test_without_canvas_polygons_no_area_is_suggested():
    shelf = Shelf()
    assert suggester(shelf).area(shelf.add(plate(99))) == ()


def pits(shelf, count, label="pit"):
    """Concept photos, each with one pit and its box."""
    concepts = []
    for number in range(count):
        x, y = 30 + 23 * number % 110, 25 + 37 * number % 75
        region = ConceptRegion(label=label, box=Box(x - 10, y - 10, 20, 20))
        concepts.append(ConceptImage(image=shelf.add(plate(20 + number, pit=(x, y))), regions=(region,)))
    return concepts


def test_box_of_an_object_like_the_drawn_ones_is_suggested_first_on_a_new_photo():
    shelf = Shelf()
    proposed = suggester(shelf, concepts=pits(shelf, 4)).boxes(shelf.add(plate(98, pit=(120, 70))))
    assert box_iou(proposed[0].box, Box(110, 60, 20, 20)) > 0.6
    assert proposed[0].label == "pit"
    assert all(box.score < proposed[0].score <= 1 for box in proposed[1:])
    assert len(proposed) <= MOST_BOXES


def test_photo_without_an_object_has_lower_scores_than_one_with_it():
    shelf = Shelf()
    matching = suggester(shelf, concepts=pits(shelf, 4))
    (with_pit, *_), without = (matching.boxes(shelf.add(plate(98, pit=pit))) for pit in ((40, 70), None))
    assert all(box.score < with_pit.score / 2 for box in without)


def test_no_boxes_are_suggested_for_a_label_drawn_in_too_few_photos():
    shelf = Shelf()
    photo = shelf.add(plate(98, pit=(120, 70)))
    assert suggester(shelf, concepts=pits(shelf, 3)).boxes(photo) == ()
    both = [*pits(shelf, 3, "dent"), *pits(shelf, 4)]
    assert {box.label for box in suggester(shelf, concepts=both).boxes(photo)} == {"pit"}


def test_same_drawings_suggest_the_same_boxes():
    shelf = Shelf()
    photo, concepts = shelf.add(plate(98, pit=(120, 70))), pits(shelf, 4)
    assert suggester(shelf, concepts=concepts).boxes(photo) == suggester(shelf, concepts=concepts).boxes(photo)
