"""Rendered photos with exact masks for ``scripts/bench mattes``: shapes drawn on textures, and the demo's plates.

The boxes are like those that people draw, with a random margin of up to 15 % on each side. The same seed gives the same
scenes. ``mattes`` divides the scenes of each kind into studies."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from datagen.domain.geometry import Box
from datagen.synthesis.engine import Picture
from stage.metal import photograph, plate_of, scratch_on
from stage.plates import BOX_MARGIN, EDITION

Floats = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

#: Height and width of a drawn scene.
_SIZE = (220, 260)
#: Largest margin between a concept and its box, as a share of the concept's side.
_MARGIN_MAX = 0.15
#: Number of scenes of three kinds; every other kind has 8.
_CRACKS, _PLANTS, _PLATES = 32, 20, 32
#: Seed of the demo's plates, and the numbers of two of its lists: the concepts and the further photos.
_PLATES_SEED, _PLATES_CONCEPTS, _PLATES_REFERENCE = 7, 0, 4
#: Number of concepts in the demo's pack.
_PLATES_GIVEN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A photo and its concepts. A concept is a box and a true mask, [h, w] of the whole photo."""

    image: Picture
    concepts: tuple[tuple[Box, Bools], ...]


def drawn_scenes(tiles: Sequence[Picture] = (), seed: int = 1) -> dict[str, list[Scene]]:
    """Return the scenes of every kind.

    Args:
        tiles: grey photos without a concept, on which cracks are drawn; without them, noise is rendered.
        seed: the seed of all random choices.
    """
    scenes: dict[str, list[Scene]] = {}
    for number, (kind, draw) in enumerate(_KINDS.items()):
        for texture_number, (texture, render) in enumerate(_TEXTURES.items()):
            name = f"{kind} on {texture}"
            scenes[name] = []
            for n in range(8):
                rng = np.random.default_rng([seed, number, texture_number, n])
                scenes[name].append(draw(render(rng), rng))
    scenes["cracks"] = [
        _cracked(tiles[n % len(tiles)] if tiles else None, np.random.default_rng([seed, 100, n]))
        for n in range(_CRACKS)
    ]
    scenes["plants"] = [_plant(np.random.default_rng([seed, 101, n])) for n in range(_PLANTS)]
    scenes["plants, boxes overlapping"] = [_two_plants(np.random.default_rng([seed, 102, n])) for n in range(8)]
    scenes["plates"] = [
        _plate(_PLATES_CONCEPTS, n) if n < _PLATES_GIVEN else _plate(_PLATES_REFERENCE, n - _PLATES_GIVEN)
        for n in range(_PLATES)
    ]
    return scenes


def box_round(mask: Bools, rng: np.random.Generator) -> Box:
    """Return a box round the mask as people draw it: each side has a random margin of its own."""
    ys, xs = np.nonzero(mask)
    width, height = np.ptp(xs) + 1, np.ptp(ys) + 1
    left, right = np.rint(rng.uniform(0, _MARGIN_MAX, 2) * width)
    top, bottom = np.rint(rng.uniform(0, _MARGIN_MAX, 2) * height)
    x0, y0 = max(0, xs.min() - left), max(0, ys.min() - top)
    x1, y1 = min(mask.shape[1], xs.max() + 1 + right), min(mask.shape[0], ys.max() + 1 + bottom)
    return Box(float(x0), float(y0), float(x1 - x0), float(y1 - y0))


def _noise(rng: np.random.Generator) -> Floats:
    """Return grey noise of two scales, as tones [h, w, 3]."""
    fine = rng.normal(0, 5, _SIZE)
    coarse = cv2.GaussianBlur(rng.normal(0, 60, _SIZE), (0, 0), 6)
    return np.repeat((rng.uniform(90, 170) + fine + coarse)[:, :, None], 3, axis=2)


def _grain(rng: np.random.Generator) -> Floats:
    """Return brushed grain along x with some noise, as tones [h, w, 3]."""
    lines = cv2.GaussianBlur(rng.normal(0, 1, _SIZE), (0, 0), sigmaX=40, sigmaY=0.6)
    grain = rng.uniform(6, 11) * lines / lines.std()
    return np.repeat((rng.uniform(110, 160) + grain + rng.normal(0, 2, _SIZE))[:, :, None], 3, axis=2)


def _soil(rng: np.random.Generator) -> Floats:
    """Return grey to brown soil with stones of several colours, as tones [h, w, 3]."""
    height, width = _SIZE
    base = np.array([105, 98, 90]) * rng.uniform(0.75, 1.25) + rng.normal(0, 5, 3)
    rough = sum(
        weight * (layer := cv2.GaussianBlur(rng.normal(0, 1, _SIZE), (0, 0), scale)) / layer.std()
        for scale, weight in ((0.8, 9.0), (2.5, 9.0), (9.0, 7.0))
    )
    soil = base + np.asarray(rough)[:, :, None]
    for _ in range(int(rng.integers(40, 110))):
        stone = np.zeros(_SIZE, np.float32)
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (int(rng.integers(2, 12)), int(rng.integers(2, 8)))
        cv2.ellipse(stone, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        stone = cv2.GaussianBlur(stone, (0, 0), 0.8)[:, :, None]
        grey = rng.uniform(60, 190)
        tone = grey * np.array([1.0, 1.0 - rng.uniform(0, 0.12), 1.0 - rng.uniform(0, 0.25)])
        light = 1 + 0.15 * (np.indices(_SIZE)[0] - centre[1])[:, :, None] / -max(axes)
        soil = soil * (1 - stone) + np.clip(light, 0.7, 1.3) * tone * stone
    return soil + rng.normal(0, 3, soil.shape)


_TEXTURES: dict[str, Callable[[np.random.Generator], Floats]] = {"noise": _noise, "grain": _grain, "soil": _soil}


def _finished(tones: Floats) -> Picture:
    """Return the tones slightly blurred, as by a lens, and rounded to 8 bits."""
    return np.clip(cv2.GaussianBlur(tones, (0, 0), 0.6), 0, 255).astype(np.uint8)


def _tone(background: Floats, mask: Bools, rng: np.random.Generator) -> Floats:
    """Return a colour for the concept: much darker or brighter than the background under it, or of another hue."""
    under = background[mask].mean(axis=0)
    step = rng.uniform(35, 70) * (1 if under.mean() < 110 else -1)
    return np.asarray(under + step + rng.normal(0, 9, 3))


def _painted(background: Floats, mask: Bools, rng: np.random.Generator) -> Scene:
    """Return the scene of one concept in a plain colour, with a little texture of its own."""
    tone = _tone(background, mask, rng)
    cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.5)[:, :, None]
    painted = background * (1 - cover) + (tone + rng.normal(0, 4, _SIZE)[:, :, None]) * cover
    return Scene(image=_finished(painted), concepts=((box_round(mask, rng), mask),))


def _place(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(100, 160)), float(rng.uniform(90, 130))


def _line(background: Floats, rng: np.random.Generator) -> Scene:
    x, y = _place(rng)
    angle, length = rng.uniform(0.25, np.pi - 0.25), rng.uniform(40, 110)
    t = np.linspace(-0.5, 0.5, 40)[:, None] * length
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    path = np.array([x, y]) + t * along + rng.normal(0, 0.002) * (t**2 - length**2 / 12) * across
    return _painted(background, _stroke(path, int(rng.integers(2, 5))), rng)


def _ring(background: Floats, rng: np.random.Generator) -> Scene:
    x, y = _place(rng)
    axes = rng.uniform(16, 36, 2)
    mask = np.zeros(_SIZE, np.uint8)
    centre, turn = (round(x), round(y)), float(rng.uniform(0, 180))
    cv2.ellipse(mask, centre, (int(axes[0]), int(axes[1])), turn, 0, 360, 1, int(rng.integers(3, 9)))
    return _painted(background, mask > 0, rng)


def _branch(background: Floats, rng: np.random.Generator) -> Scene:
    mask = np.zeros(_SIZE, bool)
    x, y = _place(rng)
    _grow(mask, np.array([x, y + 30]), -np.pi / 2 + rng.normal(0, 0.4), rng.uniform(30, 45), 4, rng)
    return _painted(background, mask, rng)


def _grow(mask: Bools, start: Floats, angle: float, length: float, width: int, rng: np.random.Generator) -> None:
    """Draw a branch, and two to three branches at its end in the same way, until they are short."""
    end = start + length * np.array([np.cos(angle), np.sin(angle)])
    mask |= _stroke(np.stack([start, end]), width)
    if length > 13:
        for spread in rng.choice([-0.8, 0.0, 0.8], int(rng.integers(2, 4)), replace=False):
            turned = angle + spread + rng.normal(0, 0.2)
            _grow(mask, end, turned, length * rng.uniform(0.5, 0.75), max(2, width - 1), rng)


def _halo(background: Floats, rng: np.random.Generator) -> Scene:
    """Return the scene of a spot with a halo of the opposite tone. The halo is not part of the spot."""
    x, y = _place(rng)
    grid_y, grid_x = np.indices(_SIZE)
    a, b = rng.uniform(8, 18), rng.uniform(8, 18)
    radius = np.hypot((grid_x - x) / a, (grid_y - y) / b)
    mask = radius <= 1
    beyond = (np.maximum(radius - 1, 0) * min(a, b))[:, :, None]
    step = _tone(background, mask, rng) - background[mask].mean(axis=0)
    halo = background - 0.45 * step * np.exp(-((beyond / rng.uniform(4, 7)) ** 2))
    return _painted(np.asarray(halo), mask, rng)


_KINDS: dict[str, Callable[[Floats, np.random.Generator], Scene]] = {
    "lines": _line,
    "rings": _ring,
    "branches": _branch,
    "halos": _halo,
}


def _stroke(path: Floats, width: int) -> Bools:
    mask = np.zeros(_SIZE, np.uint8)
    cv2.polylines(mask, [np.rint(path).astype(np.int32)], False, 1, width)
    return mask > 0


def _cracked(tile: Picture | None, rng: np.random.Generator) -> Scene:
    """Return the scene of a crack on a plain tile: a dark random walk, one to three pixels wide."""
    if tile is None:
        tile = np.clip(_noise(rng)[:, :, 0], 0, 255).astype(np.uint8)
    height, width = tile.shape[:2]
    steps = int(min(rng.integers(25, 90), 0.35 * min(height, width)))
    mask = np.zeros((height, width), np.uint8)
    while not mask.any():
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.25, steps))
        path = np.cumsum(np.stack([np.cos(angle), np.sin(angle)], axis=1), axis=0)
        room = np.array([width, height]) - np.ptp(path, axis=0) - 24
        if (room > 0).all():
            path += 12 + rng.uniform(0, 1, 2) * room - path.min(axis=0)
            thick = int(rng.integers(1, 4))
            cv2.polylines(mask, [np.rint(path).astype(np.int32)], False, 1, thick)
    local = cv2.GaussianBlur(tile.astype(np.float32), (0, 0), 2)
    noise = float(np.median(np.abs(tile - local)))
    cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.5)
    depth = max(rng.uniform(0.25, 0.5) * float(local[mask > 0].mean()), 4 * noise)
    cracked = np.clip(tile - cover * depth, 0, 255).astype(np.uint8)
    return Scene(image=cracked, concepts=((box_round(mask > 0, rng), mask > 0),))


def _leaves(rng: np.random.Generator, centre: tuple[float, float], size: float) -> tuple[Bools, Floats]:
    """Return the mask and the shading, both [h, w], of a plant seen from above.

    It has leaves on stalks, some with holes.
    """
    mask, shade = np.zeros(_SIZE, np.uint8), np.zeros(_SIZE, np.float32)
    count, narrow = int(rng.integers(4, 9)), rng.uniform(0.18, 0.6)
    first = rng.uniform(0, 2 * np.pi)
    for n in range(count):
        angle = first + 2 * np.pi * n / count + rng.normal(0, 0.2)
        reach = size * rng.uniform(0.65, 1.0)
        length = reach * rng.uniform(0.3, 0.5)
        at = np.array(centre) + (reach - length / 2) * np.array([np.cos(angle), np.sin(angle)])
        leaf = np.zeros(_SIZE, np.uint8)
        axes = (max(2, int(length / 2)), max(2, int(narrow * length)))
        cv2.ellipse(leaf, (round(at[0]), round(at[1])), axes, float(np.degrees(angle)), 0, 360, 1, -1)
        if rng.random() < 0.4 and min(axes) > 5:
            cv2.circle(leaf, (round(at[0]), round(at[1])), max(2, min(axes) // 2), 0, -1)
        ends = (round(centre[0]), round(centre[1])), (round(at[0]), round(at[1]))
        stalk = np.zeros(_SIZE, np.uint8)
        cv2.line(stalk, *ends, 1, 2)
        hole = cv2.circle(np.zeros(_SIZE, np.uint8), ends[1], min(axes), 1, -1)
        leaf |= stalk & (1 - hole)
        shade[leaf > 0] = rng.normal(0, 12)
        mask |= leaf
    return mask > 0, shade


def _plants(soil: Floats, plants: Sequence[tuple[Bools, Floats]], rng: np.random.Generator) -> Scene:
    green = np.array([rng.uniform(50, 110), rng.uniform(110, 170), rng.uniform(30, 80)])
    painted, concepts = soil, []
    for mask, shade in plants:
        cover = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.5)[:, :, None]
        tones = green + shade[:, :, None] + cv2.GaussianBlur(rng.normal(0, 25, _SIZE), (0, 0), 1.5)[:, :, None]
        painted = painted * (1 - cover) + tones * cover
        concepts.append((box_round(mask, rng), mask))
    return Scene(image=_finished(painted + rng.normal(0, 3, painted.shape)), concepts=tuple(concepts))


def _plant(rng: np.random.Generator) -> Scene:
    return _plants(_soil(rng), [_leaves(rng, _place(rng), rng.uniform(24, 55))], rng)


def _two_plants(rng: np.random.Generator) -> Scene:
    """Return the scene of two plants side by side whose boxes overlap."""
    size = rng.uniform(28, 42)
    x, y = float(rng.uniform(80, 110)), float(rng.uniform(90, 110))
    near = (x + 1.5 * size, y + rng.uniform(0.6, 1.0) * size)
    first, second = _leaves(rng, (x, y), size), _leaves(rng, near, size)
    return _plants(_soil(rng), [first, second], rng)


def _plate(of_list: int, number: int) -> Scene:
    """Return a photo of the demo's pack (``stage.plates``) with the pack's boxes and without drawn outlines."""
    rng = np.random.default_rng([_PLATES_SEED, EDITION, of_list, number])
    plate = plate_of(rng)
    scratches: list[Any] = []
    for _ in range(2 if rng.random() < 0.3 else 1):
        scratches.append(scratch_on(plate, scratches, rng))
    photo, numbers = photograph(plate, scratches, rng)
    concepts = []
    for n in range(len(scratches)):
        mask = numbers == n + 1
        ys, xs = np.nonzero(mask)
        left, top = max(int(xs.min()) - BOX_MARGIN, 0), max(int(ys.min()) - BOX_MARGIN, 0)
        right = min(int(xs.max()) + 1 + BOX_MARGIN, mask.shape[1])
        bottom = min(int(ys.max()) + 1 + BOX_MARGIN, mask.shape[0])
        concepts.append((Box(left, top, right - left, bottom - top), mask))
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=94, subsampling=0)
    return Scene(image=np.asarray(Image.open(file)), concepts=tuple(concepts))
