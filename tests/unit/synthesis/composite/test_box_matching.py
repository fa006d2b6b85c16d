"""Boxes on a new photo are found by what the drawn ones hold, with one false box a photo at most on plain photos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.domain.inputs import ImageRef
from datagen.evaluation.metrics import box_iou
from datagen.synthesis.composite.box_matching import learn_matcher

HEIGHT, WIDTH = 120, 160
CENTRES = ((30, 30), (60, 80), (100, 40), (130, 90))


class Shelf:
    """Pictures by their digest."""

    def __init__(self):
        self.pictures = []

    def add(self, picture):
        self.pictures.append(picture)
        height, width = picture.shape[:2]
        return ImageRef(digest=f"{len(self.pictures) - 1:064x}", width=width, height=height, name="photo.png")

    def load(self, ref):
        return self.pictures[int(ref.digest, 16)]


def plate(seed, *pits, scale=1):
    """A grained grey plate with dark discs of radius 7 at these centres."""
    tones = np.random.default_rng(seed).normal(150, 5, (HEIGHT * scale, WIDTH * scale))
    picture = np.clip(tones, 0, 255).astype(np.uint8)
    for x, y in pits:
        cv2.circle(picture, (x * scale, y * scale), 7 * scale, 60, -1)
    return picture


def around(centre, scale=1):
    return Box((centre[0] - 10) * scale, (centre[1] - 10) * scale, 20 * scale, 20 * scale)


def learned(scale=1, convert=lambda picture: picture, held_out=()):
    shelf = Shelf()
    photos = [(shelf.add(convert(plate(n, at, scale=scale))), [around(at, scale)], []) for n, at in enumerate(CENTRES)]
    plain = [shelf.add(convert(plate(50 + n, scale=scale))) for n in range(8)]
    others = [shelf.add(picture) for picture in held_out] or plain[1::2]
    return learn_matcher(photos, plain[::2], others, shelf)


def test_every_object_of_a_photo_is_found():
    boxes = learned().find(plate(99, (40, 90), (120, 30)), most=5)
    for centre in ((40, 90), (120, 30)):
        assert max(box_iou(box, around(centre)) for box, _ in boxes[:2]) > 0.6


def test_photos_held_out_have_one_box_each_on_average_whatever_they_show():
    lookalikes = [plate(60 + n, (40, 90), (120, 30), (60, 40)) for n in range(4)]
    matcher = learned(held_out=lookalikes)
    assert sum(len(matcher.find(photo, most=5)) for photo in lookalikes) <= len(lookalikes)


def test_boxes_of_a_photo_do_not_overlap():
    boxes = [box for box, _ in learned().find(plate(99, (40, 90), (120, 30)), most=5)]
    assert all(box_iou(box, other) <= 0.2 for n, box in enumerate(boxes) for other in boxes[:n])


def test_other_bit_depth_and_colour_give_the_same_boxes():
    photo = plate(99, (40, 90))
    deep = learned(convert=lambda picture: picture.astype(np.uint16) * 257).find(photo.astype(np.uint16) * 257, 1)
    colour = learned(convert=lambda picture: np.dstack([picture] * 3)).find(np.dstack([photo] * 3), 1)
    for boxes in (deep, colour):
        assert box_iou(boxes[0][0], learned().find(photo, 1)[0][0]) > 0.8


def test_boxes_on_a_photo_that_is_reduced_are_in_its_own_pixels():
    (box, _), *_ = learned(scale=8).find(plate(99, (40, 90), scale=8), most=5)
    assert box_iou(box, around((40, 90), 8)) > 0.6


@pytest.mark.parametrize(
    ("side", "box"),
    [(100, Box(500, 500, 20, 20)), (6, Box(0, 0, 6, 6))],
    ids=["box outside its photo", "box as large as all photos"],
)
def test_boxes_without_anything_beside_them_or_in_them_teach_nothing(side, box):
    shelf = Shelf()
    photos = [(shelf.add(plate(n, at)[:side, :side]), [box], []) for n, at in enumerate(CENTRES)]
    assert learn_matcher(photos, (), (), shelf) is None
