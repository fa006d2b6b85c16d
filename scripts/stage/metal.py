"""Renderer of photographs of brushed-metal plates: table, plate, brushing, light, scratches, camera.

All random numbers come from the given generator. Distances and heights are in pixels; only the slopes of heights
matter. Brightness is linear from 0 to 1 until the camera's curve is applied at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import Polygon

WIDTH, HEIGHT = 512, 384

Floats = npt.NDArray[np.float32]

#: Distances in pixels at which a person ends the area polygon: inside the plate's edge, and round a bolt hole.
RIM, ROUND_HOLE = 7.0, 9.0


@dataclass(frozen=True, slots=True)
class Plate:
    """One plate on the table: its place, brushing and light. ``area`` is the usable part of its face."""

    centre: tuple[float, float]
    half: tuple[float, float]
    corner: float
    turn: float  #: rotation in radians, clockwise
    hole: float  #: radius of the bolt holes in pixels
    hole_at: tuple[tuple[float, float], ...]  #: centres (x, y) of the bolt holes, in pixels of the image
    brushing: float  #: strength of the brushed texture
    tint: tuple[float, float, float]
    exposure: float
    lamp: float  #: direction that the light comes from, in radians
    glow: tuple[float, float, float]  #: the highlight: its place across the brushing (-1 to 1), width and strength
    area: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Scratch:
    """A groove along ``path`` ([n, 2], x and y in pixels), with its half width and depth.

    The depth is multiplied along the path by a profile ([n], 0 to 1).
    """

    path: Floats
    half_width: float
    depth: float
    profile: Floats


def plate_of(rng: np.random.Generator) -> Plate:
    """Return a plate at a random place under the camera."""
    centre = (WIDTH / 2 + rng.normal(0, 9), HEIGHT / 2 + rng.normal(0, 7))
    half = (WIDTH * rng.uniform(0.41, 0.45), HEIGHT * rng.uniform(0.40, 0.44))
    corner, turn = rng.uniform(18, 26), np.radians(rng.normal(0, 2.2))
    inset, hole = rng.uniform(27, 31), rng.uniform(6.5, 8.0)
    holes = tuple(
        _to_image(centre, turn, (sx * (half[0] - inset), sy * (half[1] - inset))) for sx in (-1, 1) for sy in (-1, 1)
    )
    warm = rng.normal(0, 0.012)
    return Plate(
        centre=centre,
        half=half,
        corner=corner,
        turn=float(turn),
        hole=hole,
        hole_at=holes,
        brushing=rng.uniform(0.03, 0.045),
        tint=(1.0 + warm, 1.0, 1.015 - warm),
        exposure=rng.uniform(0.86, 1.08),
        lamp=float(np.radians(rng.normal(-115, 14))),
        glow=(rng.uniform(-0.5, 0.5), rng.uniform(0.35, 0.6), rng.uniform(0.16, 0.30)),
        area=_area(centre, half, corner, float(turn), holes, hole),
    )


def scratch_on(plate: Plate, others: Sequence[Scratch], rng: np.random.Generator) -> Scratch:
    """Return a random scratch on the plate's usable face that keeps clear of ``others``.

    It lies mostly across the brushing, and is straight or bent.
    """
    face = Polygon(plate.area)
    for other in others:
        face = face.difference(shapely.LineString(other.path).buffer(12))
    while True:
        length = float(np.clip(rng.lognormal(np.log(62), 0.45), 24, 150))
        heading = plate.turn + np.radians(rng.choice([-1, 1]) * rng.normal(48, 16))
        along, across = np.array([np.cos(heading), np.sin(heading)]), np.array([-np.sin(heading), np.cos(heading)])
        middle = np.array([rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)])
        t = np.linspace(-0.5, 0.5, max(int(length), 24))[:, None]
        bend, wave = rng.normal(0, 0.10) * length, rng.normal(0, 0.010) * length
        path = middle + t * length * along + (bend * (t**2 - 0.25) + wave * np.sin(9 * t)) * across
        if face.contains(shapely.LineString(path).buffer(4)):
            break
    ends = np.clip((0.5 - np.abs(t[:, 0])) * length / rng.uniform(9, 20), 0, 1) ** 0.8
    skips = 0.78 + 0.22 * _smooth_line(len(t), 7, rng)
    return Scratch(
        path=path.astype(np.float32),
        half_width=float(rng.uniform(0.85, 1.7)),
        depth=float(rng.uniform(0.95, 1.75)),
        profile=(ends * np.clip(skips, 0.25, 1.0)).astype(np.float32),
    )


def photograph(
    plate: Plate, scratches: Sequence[Scratch], rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return the photo ([h, w, 3] RGB uint8) and the mask of the scratches ([h, w] uint8).

    The mask is i + 1 where scratch i is visible, and 0 elsewhere.
    """
    on_plate, u, v = _coverage(plate)
    texture = _brushed(rng)[..., None] * np.float32(plate.brushing)
    metal = (0.47 + _light(plate, u, v))[..., None] * (1 + _turned(texture, plate)) * np.float32(plate.tint)
    metal += _rim(plate, u, v)[..., None]
    holes = _holes(plate)
    metal *= (1 - 0.93 * holes[..., 0])[..., None]
    metal += holes[..., 1][..., None]
    shading, mask = _scratched(plate, scratches)
    metal *= (1 + shading)[..., None]
    scene = _table(plate, on_plate, rng) * (1 - on_plate[..., None]) + metal * on_plate[..., None]
    return _camera(scene * np.float32(plate.exposure), rng), mask


def _to_image(centre: tuple[float, float], turn: float, at: tuple[float, float]) -> tuple[float, float]:
    c, s = float(np.cos(turn)), float(np.sin(turn))
    return centre[0] + at[0] * c - at[1] * s, centre[1] + at[0] * s + at[1] * c


def _area(
    centre: tuple[float, float],
    half: tuple[float, float],
    corner: float,
    turn: float,
    holes: tuple[tuple[float, float], ...],
    hole: float,
) -> tuple[tuple[float, float], ...]:
    core = shapely.box(-half[0] + corner, -half[1] + corner, half[0] - corner, half[1] - corner)
    face = shapely.affinity.translate(
        shapely.affinity.rotate(core.buffer(corner - RIM, quad_segs=4), turn, origin=(0, 0), use_radians=True), *centre
    )
    for x, y in holes:  # a bite out of the corner: a drawn polygon has no holes in it
        out = (centre[0] + (x - centre[0]) * 1.3, centre[1] + (y - centre[1]) * 1.3)
        face = face.difference(shapely.LineString([(x, y), out]).buffer(hole + ROUND_HOLE, quad_segs=3))
    largest = max(getattr(face, "geoms", [face]), key=lambda part: part.area)
    return tuple((float(x), float(y)) for x, y in largest.simplify(0.8).exterior.coords[:-1])


def _grid(plate: Plate) -> tuple[Floats, Floats]:
    """Return each pixel's coordinates u and v on the plate, both [h, w] in pixels from the plate's centre.

    u runs along the plate's long side, and v across it.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) + np.float32(0.5)
    c, s = np.float32(np.cos(plate.turn)), np.float32(np.sin(plate.turn))
    dx, dy = x - np.float32(plate.centre[0]), y - np.float32(plate.centre[1])
    return dx * c + dy * s, dy * c - dx * s


def _outside(plate: Plate, u: Floats, v: Floats) -> Floats:
    """Return the signed distance of each pixel to the plate's outline, [h, w]; it is negative inside."""
    qx = np.abs(u) - np.float32(plate.half[0] - plate.corner)
    qy = np.abs(v) - np.float32(plate.half[1] - plate.corner)
    outside = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)
    return (outside - np.float32(plate.corner)).astype(np.float32)


def _coverage(plate: Plate) -> tuple[Floats, Floats, Floats]:
    u, v = _grid(plate)
    return np.clip(0.5 - _outside(plate, u, v), 0, 1).astype(np.float32), u, v


def _brushed(rng: np.random.Generator) -> Floats:
    """Return a texture [h, w] brushed along x, with mean 0 and standard deviation 1.

    It has streaks of many lengths, and a few single deep ones.
    """
    pad = 140
    shape = (HEIGHT + 2 * pad // 4, WIDTH + 2 * pad)
    total = np.zeros(shape, np.float32)
    for length, height, weight in ((90, 0.6, 1.0), (38, 0.45, 0.9), (12, 0.4, 0.7), (130, 5.0, 0.55)):
        noise = rng.standard_normal(shape, dtype=np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=length / 2.5, sigmaY=height)
        total += np.float32(weight) * noise / noise.std()
    single = (rng.random(shape, dtype=np.float32) > 0.99965).astype(np.float32) * rng.choice([-1.0, 1.0], shape)
    single = cv2.GaussianBlur(single.astype(np.float32), (0, 0), sigmaX=16, sigmaY=0.5)
    total += np.float32(0.8) * single / max(float(single.std()), 1e-6)
    total = total[pad // 4 : pad // 4 + HEIGHT, pad : pad + WIDTH]
    return ((total - total.mean()) / total.std()).astype(np.float32)


def _turned(texture: Floats, plate: Plate) -> Floats:
    """Return the texture rotated as the plate is."""
    turn = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), -float(np.degrees(plate.turn)), 1.0)
    turned = cv2.warpAffine(texture, turn, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return turned.reshape(HEIGHT, WIDTH, 1).astype(np.float32)


def _light(plate: Plate, u: Floats, v: Floats) -> Floats:
    """Return the lamp's light on the brushed metal, [h, w].

    It is a band of highlight across the brushing, plus a slight fall-off over the plate.
    """
    place, width, strength = plate.glow
    x, y = u / np.float32(plate.half[0]), v / np.float32(plate.half[1])
    band = np.exp(-((x - place + 0.12 * y) ** 2) / (2 * width**2)) * strength
    fall = 0.05 * (x * np.cos(plate.lamp) + y * np.sin(plate.lamp))
    return (band + fall).astype(np.float32)


def _rim(plate: Plate, u: Floats, v: Floats) -> Floats:
    """Return the light of the bevelled edge, [h, w]: bright where the edge faces the lamp, dark on the other side."""
    outside = _outside(plate, u, v)
    gy, gx = np.gradient(outside)
    facing = gx * np.cos(plate.lamp) + gy * np.sin(plate.lamp)
    return (np.exp(-((outside + 1.8) ** 2) / 3.0) * (0.26 * facing)).astype(np.float32)


def _holes(plate: Plate) -> Floats:
    """Return [h, w, 2]: the share of each pixel that is hole, and the light on the rims of the holes."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32) + np.float32(0.5)
    dark, light = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.float32)
    for hx, hy in plate.hole_at:
        dx, dy = x - np.float32(hx), y - np.float32(hy)
        distance = np.hypot(dx, dy)
        dark = np.maximum(dark, np.clip(plate.hole + 0.5 - distance, 0, 1))
        facing = -(dx * np.cos(plate.lamp) + dy * np.sin(plate.lamp)) / np.maximum(distance, 1)
        light += np.exp(-((distance - plate.hole - 1.8) ** 2) / 2.6) * 0.22 * facing
    return np.stack([dark, light], axis=-1).astype(np.float32)


def _table(plate: Plate, on_plate: Floats, rng: np.random.Generator) -> Floats:
    """Return the picture of the table, [h, w, 3]: a dark mat with grain and the plate's soft shadow."""
    mat = np.zeros((HEIGHT, WIDTH), np.float32)
    for sigma, weight in ((1.0, 0.006), (5.0, 0.005), (45.0, 0.012)):
        noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH), dtype=np.float32), (0, 0), sigma)
        mat += np.float32(weight) * noise / noise.std()
    shift = np.float32([[1, 0, -7 * np.cos(plate.lamp)], [0, 1, -7 * np.sin(plate.lamp)]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(on_plate, shift, (WIDTH, HEIGHT)), (0, 0), 6)
    return ((0.062 + mat)[..., None] * np.float32([0.86, 1.0, 1.06]) * (1 - 0.7 * shadow)[..., None]).astype(np.float32)


def _scratched(plate: Plate, scratches: Sequence[Scratch]) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Return the light of the scratches, [h, w], relative to 1, and the mask [h, w] of where they are visible."""
    total, mask = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, scratch in enumerate(scratches):
        reach = int(np.ceil(4 * scratch.half_width + 3))
        left, top = np.maximum(np.floor(scratch.path.min(axis=0)).astype(int) - reach, 0)
        right, bottom = np.minimum(np.ceil(scratch.path.max(axis=0)).astype(int) + reach, (WIDTH, HEIGHT))
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32) + np.float32(0.5)
        shading, floor = _groove(plate, scratch, x, y)
        here = (slice(top, bottom), slice(left, right))
        total[here] += shading
        seen = (np.abs(shading) > 0.07) | floor
        seen = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        mask[here][seen > 0] = number + 1
    return np.clip(total, -0.85, 1.2), mask


def _groove(plate: Plate, scratch: Scratch, x: Floats, y: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the shading of one groove on a patch of pixels (x, y), and a mask of the groove's floor."""
    from_path = np.stack([x, y], axis=-1)[..., None, :] - scratch.path
    squared = (from_path**2).sum(axis=-1)
    nearest = squared.argmin(axis=-1)
    distance = np.sqrt(np.take_along_axis(squared, nearest[..., None], axis=-1)[..., 0])
    heading = np.gradient(scratch.path, axis=0)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    offset = np.take_along_axis(from_path, nearest[..., None, None], axis=2)[..., 0, :]
    side = np.sign(heading[nearest][..., 0] * offset[..., 1] - heading[nearest][..., 1] * offset[..., 0])
    w = np.float32(scratch.half_width)
    depth = scratch.profile[nearest] * np.float32(scratch.depth)
    # across it: a groove with two banks (a difference of Gaussians); its slope towards the lamp is what shines
    r = side * distance / w
    slope = depth * (r * np.exp(-(r**2) / 2) * 1.15 - 0.30 * r * np.exp(-(r**2) / 5))
    normal = np.stack([-heading[:, 1], heading[:, 0]], axis=-1)[nearest]
    facing = normal[..., 0] * np.cos(plate.lamp) + normal[..., 1] * np.sin(plate.lamp)
    floor = np.exp(-(r**2) / 0.9)
    shading = -0.34 * depth * floor - 0.62 * slope * facing
    shading += 0.16 * depth * np.exp(-((np.abs(r) - 1.9) ** 2) / 0.55)  # the burr catches light on both sides
    return shading.astype(np.float32), (distance < w) & (scratch.profile[nearest] > 0.2)


def _smooth_line(n: int, scale: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    noise = np.convolve(rng.standard_normal(n + 4 * scale), np.hanning(2 * scale + 1), mode="same")[2 * scale :][:n]
    return noise / noise.std()


def _camera(scene: Floats, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Return the scene as a camera records it, [h, w, 3] uint8.

    The steps are vignetting, a slight blur, noise that grows with the light, gamma, and 8 bits.
    """
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j].astype(np.float32)
    scene = scene * (1 - 0.10 * (x**2 + y**2))[..., None]
    scene = cv2.GaussianBlur(scene, (0, 0), 0.55)
    noise = rng.standard_normal(scene.shape, dtype=np.float32)
    scene = np.clip(scene, 0, 1.2)
    scene = scene + noise * np.sqrt(0.00004 * scene + 0.000006)
    return (np.clip(scene, 0, 1) ** (1 / 1.6) * 255 + 0.5).astype(np.uint8)
