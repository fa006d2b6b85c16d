"""Contact sheets: the samples of a round at a glance, the synthesized thing outlined."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from datagen.domain.sample import Sample
from datagen.imaging.codec import encode_png
from datagen.store.blob_store import BlobStore
from datagen.synthesis.engine import Picture, Pictures

#: One sample's cell, pixels; five in a row fill a laptop's screen.
CELL, COLUMNS, GAP = 240, 5, 6
#: Height of the strip above each cell that holds the sample's number, pixels.
CAPTION = 18
#: Outlines in a colour that neither metal nor tissue has.
OUTLINE = (255, 0, 160)
#: A sheet shows at most so many; a round has 20.
MOST_CELLS = 60
#: The sheet of a generation run shows so many of its first images.
RUN_CELLS = 20


def contact_sheet(images: BlobStore, pictures: Pictures, samples: Sequence[Sample]) -> str:
    """Draw the sheet of a round's samples, in their order and numbered from 1, and store it; returns its digest."""
    cells = [_cell(pictures.load(sample.image), sample) for sample in samples[:MOST_CELLS]]
    rows = math.ceil(len(cells) / COLUMNS)
    tall = max(cell.shape[0] for cell in cells)  # wide pictures need no square cells
    tier = tall + CAPTION + GAP
    sheet = np.full((rows * tier + GAP, COLUMNS * (CELL + GAP) + GAP, 3), 245, np.uint8)
    for place, cell in enumerate(cells):
        row, column = divmod(place, COLUMNS)
        corner = (GAP + column * (CELL + GAP), GAP + row * tier + CAPTION - 5)
        # the number that its review task shows
        cv2.putText(sheet, str(place + 1), corner, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (70, 70, 70), 1, cv2.LINE_AA)
        top = GAP + row * tier + CAPTION + (tall - cell.shape[0]) // 2
        left = GAP + column * (CELL + GAP) + (CELL - cell.shape[1]) // 2
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return images.put(encode_png(sheet))


def notice_sheet(text: str) -> bytes:
    """A sheet that says ``text`` (ASCII), for a decision that has no samples to show, as a PNG."""
    sheet = np.full((120, COLUMNS * (CELL + GAP) + GAP, 3), 245, np.uint8)
    cv2.putText(sheet, text, (24, 68), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (90, 90, 90), 1, cv2.LINE_AA)
    return encode_png(sheet)


def _cell(picture: Picture, sample: Sample) -> Picture:
    """One sample in colour and 8 bits, scaled to its cell, with its outlines."""
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    height, width = picture.shape[:2]
    scale = CELL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    cell = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for instance in sample.instances:
        for outline in instance.outlines:
            corners = np.round(np.array(outline.points) * scale).astype(np.int32)
            cv2.polylines(cell, [corners.reshape(-1, 1, 2)], True, OUTLINE, 1, cv2.LINE_AA)
    return cell
