"""Contact sheets: one picture with the samples of a round or run, and outlines round the synthesized instances.

Between the samples a sheet is transparent, so that it suits Label Studio's light and dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from datagen.domain.sample import Instance
from datagen.imaging.png_encoder import encode_translucent
from datagen.store.blob_store import BlobStore
from datagen.synthesis.engine import Picture

#: Side of the square cell of a sample in pixels, number of cells in a row, and gap between cells in pixels. A row is as
#: wide as a laptop's screen.
CELL, COLUMNS, GAP = 240, 5, 6
#: Height of the strip above each cell that holds the sample's number, pixels.
CAPTION = 18
#: Colour of the outlines (RGB); neither metal nor tissue has it.
OUTLINE = (255, 0, 160)
#: Grey of the numbers; it is readable on light and on dark.
_GREY = (125, 125, 125)
#: Largest number of samples on a sheet. A round has 20 by default.
MAX_CELLS = 60
#: Number of images on the sheet of a generation run, which shows the run's first images.
RUN_CELLS = 20


def contact_sheet(images: BlobStore, cells: Sequence[Picture], numbers: Sequence[int]) -> str:
    """Draw a contact sheet of ``cells``, store it in the image store, and return its digest.

    The cells are drawn in the given order; each has one of the ``numbers``.
    """
    rows = math.ceil(len(cells) / COLUMNS)
    cell_height = max(cell.shape[0] for cell in cells)  # cells of wide pictures are not square
    row_height = cell_height + CAPTION + GAP
    sheet = np.zeros((rows * row_height + GAP, COLUMNS * (CELL + GAP) + GAP, 4), np.uint8)
    for position, cell in enumerate(cells):
        row, column = divmod(position, COLUMNS)
        corner = (GAP + column * (CELL + GAP), GAP + row * row_height + CAPTION - 5)
        _write(sheet, str(numbers[position]), corner, 0.45)
        top = GAP + row * row_height + CAPTION + (cell_height - cell.shape[0]) // 2
        left = GAP + column * (CELL + GAP) + (CELL - cell.shape[1]) // 2
        sheet[top : top + cell.shape[0], left : left + cell.shape[1], :3] = cell
        sheet[top : top + cell.shape[0], left : left + cell.shape[1], 3] = 255
    return images.put(encode_translucent(sheet))


def notice_sheet(text: str) -> bytes:
    """Return a PNG with ``text`` (ASCII), for a decision without samples."""
    sheet = np.zeros((120, COLUMNS * (CELL + GAP) + GAP, 4), np.uint8)
    _write(sheet, text, (24, 68), 0.8)
    return encode_translucent(sheet)


def _write(sheet: Picture, text: str, corner: tuple[int, int], size: float) -> None:
    """Write text (ASCII) on a transparent part of a sheet; ``corner`` is its lower left one."""
    strokes = np.zeros(sheet.shape[:2], np.uint8)
    cv2.putText(strokes, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
    written = strokes > 0
    sheet[written, :3] = _GREY
    sheet[written, 3] = strokes[written]


def cell_of(picture: Picture, instances: Sequence[Instance]) -> Picture:
    """Return a sample's picture with the outlines of its instances, in colour and 8 bits, scaled to fit: [h, w, 3]."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    cell = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for instance in instances:
        for outline in instance.outlines:
            corners = np.round(np.array(outline.points) * scale).astype(np.int32)
            cv2.polylines(cell, [corners.reshape(-1, 1, 2)], True, OUTLINE, 1, cv2.LINE_AA)
    return cell
