"""Suggestions are what the engine would use: the outline of the object in a box, and the learned area."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion, ImageRef
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


def suggester(shelf, canvases=()):
    return load_engine("composite").suggester({}, canvases, (), shelf)


def covered(polygons, height=HEIGHT, width=WIDTH):
    return np.any([rasterize(np.asarray(one.points), (height, width)) for one in polygons], axis=0)


def test_outline_of_the_object_in_a_box_is_suggested():
    shelf = Shelf()
    picture = plate(1, pit=(120, 60))
    (proposed,) = suggester(shelf).outlines(concept(shelf, picture, Box(108, 48, 24, 24)))
    truth = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(truth, (120, 60), 7, 1, -1)
    found = covered(proposed.outline)
    assert (found & (truth > 0)).sum() / (found | (truth > 0)).sum() > 0.8
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
    found = covered(suggester(shelf, canvases).area(shelf.add(plate(99, split=70))))
    truth = np.broadcast_to(np.arange(WIDTH) >= 70, (HEIGHT, WIDTH))
    assert (found & truth).sum() / (found | truth).sum() > 0.85


def test_without_canvas_polygons_no_area_is_suggested():
    shelf = Shelf()
    assert suggester(shelf).area(shelf.add(plate(99))) == ()
