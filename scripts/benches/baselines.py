"""Baselines of the quality bench: each makes labelled images from the same concepts and backgrounds.

*Box paste* pastes the boxes. *Dwibedi* (Dwibedi et al. 2017, Cut, Paste and Learn) pastes cut-outs anywhere, freely
rotated and scaled, with a mix of hard, Gaussian and Poisson edges. *Matte + Poisson* clones the mattes
(``cv2.seamlessClone``, NORMAL). *NSA* (Schlüter et al. 2022) blends patches of another background. *Perlin* (DRAEM,
Zavrtanik et al. 2021) mixes in foreign texture in the shape of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benches.crops import Labelled
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.intensity import channels_as, from_tones, to_tones
from datagen.synthesis.masks import tight_box

Image = npt.NDArray[Any]
Make = Callable[[Sequence[Exemplar], Sequence[Image], np.random.Generator], Labelled]


def box_paste(exemplars: Sequence[Exemplar], backgrounds: Sequence[Image], chance: np.random.Generator) -> Labelled:
    """Return a background with the pixels of a box, pasted unchanged. The box is the mask."""
    exemplar, background = _draw(exemplars, chance), _draw(backgrounds, chance)
    box, frame = exemplar.box, exemplar.frame
    rows = slice(max(0, round(box.y) - frame.top), round(box.bottom) - frame.top)
    columns = slice(max(0, round(box.x) - frame.left), round(box.right) - frame.left)
    patch = exemplar.patch[rows, columns]
    return _of(exemplar, _paste(background, patch, np.ones(patch.shape[:2], bool), chance, "hard"))


def dwibedi(exemplars: Sequence[Exemplar], backgrounds: Sequence[Image], chance: np.random.Generator) -> Labelled:
    """Return an image by Cut, Paste and Learn.

    The cut-out has any rotation, and a scale from 0.7 to 1.4. Its edges are hard, Gaussian or Poisson at random.
    """
    exemplar, background = _draw(exemplars, chance), _draw(backgrounds, chance)
    patch, mask = _turned(
        exemplar.patch, exemplar.mask, chance.uniform(0, 360), float(np.exp(chance.uniform(-0.35, 0.35)))
    )
    edge = ("hard", "gauss", "poisson")[int(chance.integers(3))]
    return _of(exemplar, _paste(background, patch, mask, chance, edge))


def poisson(exemplars: Sequence[Exemplar], backgrounds: Sequence[Image], chance: np.random.Generator) -> Labelled:
    """Return a background into which a concept's matte was cloned seamlessly."""
    exemplar, background = _draw(exemplars, chance), _draw(backgrounds, chance)
    return _of(exemplar, _paste(background, exemplar.patch, exemplar.mask, chance, "poisson"))


def nsa(_exemplars: Sequence[Exemplar], backgrounds: Sequence[Image], chance: np.random.Generator) -> Labelled:
    """Return an image with a natural synthetic anomaly: a patch of another background.

    The concept is not used.
    """
    source, background = _draw(backgrounds, chance), _draw(backgrounds, chance)
    side = [int(np.clip(chance.gamma(2, 0.04) * s, 8, s // 3)) for s in source.shape[:2]]
    y, x = (int(chance.integers(0, source.shape[n] - side[n])) for n in range(2))
    patch = to_tones(source[y : y + side[0], x : x + side[1]])
    return _paste(background, patch, np.ones(patch.shape[:2], bool), chance, "poisson")


def perlin(_exemplars: Sequence[Exemplar], backgrounds: Sequence[Image], chance: np.random.Generator) -> Labelled:
    """Return an image by DRAEM: thresholded Perlin noise is filled with the texture of another image.

    The texture is mixed in with a random opacity.
    """
    background, other = _draw(backgrounds, chance), _draw(backgrounds, chance)
    height, width = background.shape[:2]
    coarse = 2 ** int(chance.integers(2, 5))
    noise = cv2.resize(
        chance.normal(size=(coarse + 1, coarse + 1)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    mask = noise > np.quantile(noise, 0.97)
    texture = to_tones(cv2.resize(np.rot90(other, int(chance.integers(1, 4))), (width, height)))
    tones, opacity = to_tones(background), chance.uniform(0.2, 1.0)
    texture = np.clip((texture - 128) * chance.uniform(0.5, 1.5) + 128 + chance.normal() * 40, 0, 255)
    mixed = np.where(mask[:, :, None], tones + opacity * (channels_as(texture, tones.shape[2]) - tones), tones)
    return Labelled(from_tones(mixed, background), mask)


def several(
    method: str,
    exemplars: Sequence[Exemplar],
    backgrounds: Sequence[Image],
    counts: Sequence[int],
    chance: np.random.Generator,
) -> Labelled:
    """Return an image by a method, with as many concepts as one of ``counts``.

    A method without concepts changes one place.
    """
    make = METHODS[method]
    labelled = make(exemplars, backgrounds, chance)
    for _ in range(_draw(counts, chance) - 1 if method in PASTING else 0):
        further = make(exemplars, [labelled.image], chance)
        labelled = Labelled(further.image, labelled.mask | further.mask, labelled.pasted + further.pasted)
    return labelled


METHODS: dict[str, Make] = {
    "box_paste": box_paste,
    "dwibedi": dwibedi,
    "poisson": poisson,
    "nsa": nsa,
    "perlin": perlin,
}
#: The methods that paste a concept.
PASTING = ("box_paste", "dwibedi", "poisson")


def _of(exemplar: Exemplar, labelled: Labelled) -> Labelled:
    """Return the image with ``pasted`` set: the pixels under its mask come from this exemplar."""
    return replace(labelled, pasted=((tight_box(labelled.mask), exemplar.key),) if labelled.mask.any() else ())


def _draw(among: Sequence[Any], chance: np.random.Generator) -> Any:
    return among[int(chance.integers(len(among)))]


def _turned(patch: Image, mask: Image, degrees: float, scale: float) -> tuple[Image, Image]:
    height, width = mask.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)
    side = int(np.ceil(np.hypot(height, width) * max(scale, 1)))
    matrix[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
    turned = cv2.warpAffine(patch, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE).reshape(side, side, -1)
    return turned, cv2.warpAffine(mask.astype(np.uint8), matrix, (side, side), flags=cv2.INTER_NEAREST) > 0


def _paste(background: Image, patch: Image, mask: Image, chance: np.random.Generator, edge: str) -> Labelled:
    """Return the background with the masked pixels of ``patch`` at a random place.

    If the patch does not fit, the background is returned unchanged.
    """
    nothing = Labelled(background, np.zeros(background.shape[:2], bool))
    if not mask.any():
        return nothing
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    patch, mask = patch[cut], mask[cut]
    height, width = background.shape[:2]
    # seamlessClone asserts near borders: 3 pixels are kept free
    if mask.shape[0] + 8 >= height or mask.shape[1] + 8 >= width:
        return nothing
    top, left = (
        int(chance.integers(4, full - part - 4)) for full, part in zip((height, width), mask.shape, strict=True)
    )
    window = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
    image, whole = background.copy(), np.zeros((height, width), bool)
    whole[window] = mask
    tones = to_tones(image[window])
    patch = channels_as(patch, tones.shape[2])
    if edge == "poisson":
        return Labelled(_cloned(background, patch, mask, (left, top)), whole)
    alpha = mask.astype(np.float32)
    if edge == "gauss":
        alpha = cv2.GaussianBlur(alpha, (5, 5), 0) * mask
    mixed = tones + alpha[:, :, None] * (patch - tones)
    image[window][mask] = from_tones(mixed, image[window])[mask]
    return Labelled(image, whole)


def _cloned(background: Image, patch: Image, mask: Image, at: tuple[int, int]) -> Image:
    """Return the result of ``cv2.seamlessClone`` on 8-bit colour, converted back to the background's type."""

    def colour(picture: Image) -> Image:
        tones = np.clip(np.rint(channels_as(to_tones(picture), 3)), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(tones)

    rim = 3
    source = np.pad(
        np.clip(np.rint(channels_as(patch, 3)), 0, 255).astype(np.uint8), ((rim, rim), (rim, rim), (0, 0)), mode="edge"
    )
    cover = np.pad(mask.astype(np.uint8) * 255, rim)
    # it erodes the mask by 3 pixels and centres the mask's bounding box
    cover = cv2.dilate(cover, np.ones((3, 3), np.uint8))
    middle = (at[0] - rim + cover.shape[1] // 2, at[1] - rim + cover.shape[0] // 2)
    cloned = cv2.seamlessClone(source, colour(background), cover, middle, cv2.NORMAL_CLONE)
    tones = cloned.astype(np.float32)
    return from_tones(channels_as(tones, 1 if background.ndim == 2 else 3), background)
