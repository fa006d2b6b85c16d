"""Pictures of a bench: a contact sheet of samples with their labels, and a plot of the methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.engine import Rendered
from datagen.synthesis.intensity import channels_as, to_tones

_TILE_PX, _ACROSS = 150, 8
_RED = (220, 30, 30)


def contact_sheet(samples: Sequence[Rendered], path: Path) -> None:
    """Write a PNG with two tiles for each sample.

    The tiles are a close view of its first instance, and the whole image with the instance's outline.
    """
    tiles = [tile for sample in samples for tile in (_close(sample), _whole(sample))]
    if not tiles:
        return
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % _ACROSS)
    rows = [np.hstack(tiles[n : n + _ACROSS]) for n in range(0, len(tiles), _ACROSS)]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def quality_plot(report: dict[str, Any], path: Path) -> None:
    """Write a PNG with the pixel AP of every method and its spread, one panel for each pack and judge."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    packs = report["packs"]
    judges = list(dict.fromkeys(judge for pack in packs.values() for judge in pack["judges"]))
    size = (4.2 * len(packs), 4.2 * len(judges))
    figure, panels = pyplot.subplots(len(judges), len(packs), figsize=size, squeeze=False, sharex=True)
    for row, judge in zip(panels, judges, strict=True):
        for panel, (name, pack) in zip(row, packs.items(), strict=True):
            methods = pack["judges"][judge]["methods"]
            values = [figures["ap"] for figures in methods.values()]
            spreads = [figures["ap_sd"] for figures in methods.values()]
            colours = ["#d2691e" if method.startswith("ours") else "#7a8b99" for method in methods]
            panel.barh(list(methods)[::-1], values[::-1], xerr=spreads[::-1], color=colours[::-1])
            panel.set_title(f"{name}, {judge} judge")
            panel.set_xlabel(f"pixel AP, mean ± sd of {report['seeds']} seeds")
            panel.set_xlim(0, 1)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _close(sample: Rendered) -> npt.NDArray[np.uint8]:
    box = sample.instances[0].box
    half = int(max(box.width, box.height) * 0.9 + 12)
    x, y = int(box.x + box.width / 2), int(box.y + box.height / 2)
    return _tile(sample.image[max(0, y - half) : y + half, max(0, x - half) : x + half], cv2.INTER_NEAREST)


def _whole(sample: Rendered) -> npt.NDArray[np.uint8]:
    shrink = _TILE_PX / max(sample.mask.shape)
    tile = _tile(sample.image, cv2.INTER_AREA)
    for instance in sample.instances:
        for polygon in instance.outlines:
            points = np.round(np.asarray(polygon.points) * shrink * 16).astype(np.int32)
            cv2.polylines(tile, [points], True, _RED, 1, cv2.LINE_AA, 4)
    return tile


def _tile(picture: npt.NDArray[Any], method: int) -> npt.NDArray[np.uint8]:
    scale = _TILE_PX / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=method)
    tile = np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)
    tile[: size[1], : size[0]] = np.clip(channels_as(to_tones(small), 3), 0, 255).astype(np.uint8)
    return tile
