"""A picture of what an export holds, for a person to look at: each image as it is, and with its mask's outline."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

#: Images on a sheet, and how many stand in a row; each is shown twice, one above the other.
SHOWN, IN_A_ROW = 12, 4
#: Pixels of a cell.
CELL = (360, 280)
OUTLINE = (255, 40, 200)


def write_sheet(export: Path, sheet: Path) -> int:
    """Write the sheet of a ``datagen export`` zip and return how many images the zip holds.

    Images lie under ``images/``, their masks under ``masks/`` with the same stem (0 outside, > 0 inside).
    """
    with zipfile.ZipFile(export) as archive:
        images = {Path(name).stem: name for name in archive.namelist() if name.startswith("images/")}
        masks = {Path(name).stem: name for name in archive.namelist() if name.startswith("masks/")}
        stems = sorted(images)
        chosen = stems[:: max(1, len(stems) // SHOWN)][:SHOWN]
        rows = -(-len(chosen) // IN_A_ROW)
        page = Image.new("RGB", (IN_A_ROW * CELL[0], rows * 2 * CELL[1]), "white")
        for number, stem in enumerate(chosen):
            image = Image.open(io.BytesIO(archive.read(images[stem]))).convert("RGB")
            mask = Image.open(io.BytesIO(archive.read(masks[stem])))
            column, row = number % IN_A_ROW, number // IN_A_ROW
            for step, picture in enumerate((image, _outlined(image, mask))):
                picture.thumbnail((CELL[0] - 6, CELL[1] - 6))
                page.paste(picture, (column * CELL[0] + 3, (2 * row + step) * CELL[1] + 3))
    page.save(sheet)
    return len(images)


def _outlined(image: Image.Image, mask: Image.Image) -> Image.Image:
    inside = Image.fromarray(np.where(np.asarray(mask) > 0, np.uint8(255), np.uint8(0)))
    grown = np.asarray(inside.filter(ImageFilter.MaxFilter(5))) > 0
    pixels = np.array(image)
    pixels[grown & ~(np.asarray(inside) > 0)] = OUTLINE
    return Image.fromarray(pixels)
