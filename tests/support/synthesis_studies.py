"""Tiny studies that the tests render: dark discs on grained plates, which may appear on the bright half only."""

from __future__ import annotations

import hashlib
from collections import Counter

import cv2
import numpy as np
import pytest
import shapely

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion, ImageRef
from datagen.domain.spec import Spec

HEIGHT, WIDTH = 96, 128


class Shelf:
    """Pictures by their digest, with the number of loads of each."""

    def __init__(self) -> None:
        self.pictures = {}
        self.loads = Counter()

    def add(self, picture, name):
        picture.setflags(write=False)  # writing into an input raises an error
        digest = hashlib.sha256(picture.tobytes() + name.encode()).hexdigest()
        self.pictures[digest] = picture
        return ImageRef(digest=digest, width=picture.shape[1], height=picture.shape[0], name=name)

    def load(self, ref):
        self.loads[ref.name] += 1
        return self.pictures[ref.digest]


def plate(seed, *, height=HEIGHT, width=WIDTH, kind="grey", split=0.5):
    """Return a picture of a grained plate.

    Its tones are about 90 left of ``split``, a share of the width, and about 160 right of it.
    """
    chance = np.random.default_rng(seed)
    tones = np.full((height, width), 90.0)
    tones[:, int(width * split) :] = 160.0
    tones += chance.normal(0, 4, (height, width))
    return as_kind(tones, kind)


def as_kind(tones, kind):
    """Return float tones [h, w] as a picture of a kind: "grey", "deep" (16 bits) or else colour."""
    tones = np.clip(tones, 0, 255)
    match kind:
        case "grey":
            return np.rint(tones).astype(np.uint8)
        case "deep":
            return np.rint(tones * 257).astype(np.uint16)
        case _:
            return np.rint(np.stack([tones, tones * 0.9, tones * 0.7], axis=2)).astype(np.uint8)


def with_disc(picture, x, y, radius, tone=30):
    """Return a copy of the picture with a disc, and the true mask of the disc."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    cv2.circle(mask, (x, y), radius, 1, -1)
    copy = picture.copy()
    copy[mask > 0] = tone * (257 if picture.dtype == np.uint16 else 1)
    return copy, mask > 0


def make_study(
    *, kind="grey", labels=("pit",), parameters=None, concepts=6, canvases=6, backgrounds=6, canvas_kind=None, seed=0
):
    """Return a spec and the shelf with its pictures.

    Label number k has discs with a radius of 5 + 2k pixels. The drawn area is the bright part of a plate.
    """
    shelf = Shelf()
    shown = []
    for number in range(concepts):
        label = number % len(labels)
        radius = 5 + 2 * label
        x, y = 80 + 3 * number, 30 + 5 * number
        picture, _ = with_disc(plate(number, kind=kind), x, y, radius)
        box = Box(x - radius - 2, y - radius - 2, 2 * radius + 5, 2 * radius + 5)
        shown.append(
            ConceptImage(
                image=shelf.add(picture, f"concept {number}"), regions=(ConceptRegion(label=labels[label], box=box),)
            )
        )
    drawn = []
    for number in range(canvases):
        split = 0.3 + 0.07 * number
        ref = shelf.add(plate(100 + number, kind=canvas_kind or kind, split=split), f"canvas {number}")
        left = int(WIDTH * split)
        polygon = Polygon(((left, 0), (WIDTH, 0), (WIDTH, HEIGHT), (left, HEIGHT)))
        drawn.append(CanvasImage(image=ref, areas=(CanvasArea(polygon=polygon),)))
    plain = [
        shelf.add(plate(200 + number, kind=kind, split=0.35 + 0.05 * number), f"background {number}")
        for number in range(backgrounds)
    ]
    spec = Spec(
        engine="composite",
        labels=tuple(labels),
        concepts=tuple(shown),
        canvases=tuple(drawn),
        backgrounds=tuple(plain),
        parameters=parameters or {},
        seed=seed,
    )
    return spec, shelf


@pytest.fixture
def study():
    """The function ``make_study``, which returns a spec and the shelf with its pictures."""
    return make_study


@pytest.fixture
def plates():
    """The function ``plate``, which renders one plate."""
    return plate


@pytest.fixture
def disc():
    """The function ``with_disc``, which draws a disc on a picture."""
    return with_disc


def fill(polygons, shape):
    """Return which pixel centres lie in any of the polygons; this is an independent, slow rasterizer (shapely)."""
    ys, xs = np.indices(shape)
    covered = np.zeros(shape, bool)
    for polygon in polygons:
        covered |= shapely.contains_xy(shapely.Polygon(polygon.points), xs + 0.5, ys + 0.5)
    return covered


@pytest.fixture(scope="session")
def rasterized():
    """The function ``fill``, which returns the pixels of polygons."""
    return fill
