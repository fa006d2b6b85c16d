"""A contact sheet of an exported dataset, on which a person can check concept, place and mask of some images."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

#: Number of images on a sheet, and in a row of it.
SHOWN, IN_A_ROW = 12, 6
#: Width and height of a cell in pixels. An image has three cells, one above the other: the image with its labels, and a
#: close view of one label, first without and then with its outline.
CELL = (300, 230)
GAP = 4
OUTLINE = (255, 40, 200)
#: Size of a close view: the label's own extent times the first number, and at least the second number of pixels.
AROUND, FEWEST_PX = 2.0, 48


def write_sheet(export: Path, sheet: Path) -> int:
    """Write the contact sheet of a ``datagen export`` zip; return the number of images in the zip.

    The images are under ``images/``. The mask of an image is under ``masks/`` with the same stem: 0 outside, > 0
    inside.
    """
    with zipfile.ZipFile(export) as archive:
        images = {Path(name).stem: name for name in archive.namelist() if name.startswith("images/")}
        masks = {Path(name).stem: name for name in archive.namelist() if name.startswith("masks/")}
        stems = sorted(images)
        chosen = stems[:: max(1, len(stems) // SHOWN)][:SHOWN]
        page = Image.new("RGB", (IN_A_ROW * CELL[0], -(-len(chosen) // IN_A_ROW) * 3 * CELL[1]), "white")
        for number, stem in enumerate(chosen):
            image = Image.open(io.BytesIO(archive.read(images[stem]))).convert("RGB")
            mask = Image.open(io.BytesIO(archive.read(masks[stem])))
            column, row = number % IN_A_ROW, number // IN_A_ROW
            for step, picture in enumerate(_views(image, mask)):
                page.paste(picture, (column * CELL[0] + GAP, (3 * row + step) * CELL[1] + GAP))
    page.save(sheet)
    return len(images)


def _views(image: Image.Image, mask: Image.Image) -> list[Image.Image]:
    inside = Image.fromarray(np.where(np.asarray(mask) > 0, np.uint8(255), np.uint8(0)))
    whole = _outlined(image, inside)
    bounds = inside.getbbox()
    if bounds is None:
        return [_fitted(whole)]  # no label: there is nothing to look at from near
    width = max((bounds[2] - bounds[0]) * AROUND, FEWEST_PX)
    height = max((bounds[3] - bounds[1]) * AROUND, FEWEST_PX)
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    near = (
        max(int(x - width / 2), 0),
        max(int(y - height / 2), 0),
        min(int(x + width / 2) + 1, image.width),
        min(int(y + height / 2) + 1, image.height),
    )
    plain = _fitted(image.crop(near))
    return [_fitted(whole), plain, _outlined(plain, inside.crop(near).resize(plain.size, Image.Resampling.NEAREST))]


def _fitted(picture: Image.Image) -> Image.Image:
    scale = min((CELL[0] - 2 * GAP) / picture.width, (CELL[1] - 2 * GAP) / picture.height)
    return picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))


def _outlined(image: Image.Image, inside: Image.Image) -> Image.Image:
    grown = np.asarray(inside.filter(ImageFilter.MaxFilter(3))) > 0
    pixels = np.array(image)
    pixels[grown & ~(np.asarray(inside) > 0)] = OUTLINE
    return Image.fromarray(pixels)
