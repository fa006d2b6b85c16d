"""``scripts/bench proposals``: how well the proposals for annotators agree with what people drew.

For each pack: the areas of canvases, each proposed from the other canvases, against the drawn polygons (IoU); the
outlines of the concepts' boxes against the true masks in the boxes (IoU); and the boxes on test photos, proposed from
the concepts, against the drawn boxes (recall at one false box a photo). Seconds are those of one photo on one thread;
``learning`` is what the first proposal of a study takes in addition."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benches.packs import Pack, RealImage, pack_folders, read_pack
from datagen.domain.geometry import Box
from datagen.domain.inputs import ImageRef
from datagen.errors import DatagenError
from datagen.evaluation.metrics import box_iou, mask_iou
from datagen.synthesis.engine import Picture, Suggester, load_engine
from datagen.synthesis.masks import rasterize

#: Overlaps (IoU) from which a proposed box counts as found.
OVERLAPS = (0.33, 0.5)
#: False boxes a photo at which the recall is measured.
FALSE_BOXES = 1.0

Figures = dict[str, Any]
#: The drawn boxes of a photo, and the proposed ones with their scores.
Proposed = tuple[Sequence[Box], Sequence[tuple[Box, float]]]


class _WithPhotos:
    """The pictures of a pack, and its test photos by their position."""

    def __init__(self, pack: Pack, photos: Sequence[RealImage]) -> None:
        self._pack, self._photos = pack, {f"{n:064x}": photo.image for n, photo in enumerate(photos)}
        self.refs = [
            ImageRef(digest=digest, width=image.shape[1], height=image.shape[0], name=photo.name)
            for (digest, image), photo in zip(self._photos.items(), photos, strict=True)
        ]

    def load(self, ref: ImageRef) -> Picture:
        photo = self._photos.get(ref.digest)
        return self._pack.pictures.load(ref) if photo is None else photo


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0, or 2 if a folder is no pack."""
    parser = argparse.ArgumentParser(prog="scripts/bench proposals", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PACK", help="pack folders")
    parser.add_argument("--photos", type=int, default=24, metavar="N", help="test photos of a pack, evenly chosen")
    parser.add_argument("--engine", default="composite", help="the engine that proposes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    chosen = parser.parse_args(arguments)
    report: dict[str, Figures] = {}
    try:
        for folder in pack_folders(chosen.data):
            pack = read_pack(folder)
            report[pack.name] = measured(pack, chosen.engine, max(chosen.photos, 1))
            print(f"{pack.name}: {json.dumps(report[pack.name])}", file=sys.stderr, flush=True)
    except DatagenError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    print(table(report))
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


def measured(pack: Pack, engine: str, photo_count: int) -> Figures:
    """Return the figures of one pack."""
    photos = [pack.test[n] for n in sorted({round(n) for n in np.linspace(0, len(pack.test) - 1, photo_count)})]
    pictures = _WithPhotos(pack, photos)
    return {
        **_areas(pack, engine),
        **_outlines(pack, _suggester(pack, engine, pictures)),
        **_boxes(_suggester(pack, engine, pictures), photos, pictures.refs),
    }


def recall_at(photos: Sequence[Proposed], overlap: float, false_boxes: float = FALSE_BOXES) -> float:
    """Return the share of the drawn boxes that are found at ``false_boxes`` false boxes a photo, on the mean.

    In order of their scores over all photos, each proposed box finds the drawn box that it overlaps most and that no
    better one found, if their IoU is at least ``overlap``; otherwise it is false. The count ends with the first false
    box too many. NaN if no box is drawn.
    """
    outcomes: list[tuple[float, bool]] = []
    for drawn, proposed in photos:
        left = list(drawn)
        for box, score in sorted(proposed, key=lambda scored: -scored[1]):
            nearest = max(left, key=lambda other: box_iou(box, other), default=None)
            is_right = nearest is not None and box_iou(box, nearest) >= overlap
            if is_right:
                left.remove(nearest)
            outcomes.append((score, is_right))
    right = wrong = 0
    for _, is_right in sorted(outcomes, key=lambda outcome: (-outcome[0], outcome[1])):
        right, wrong = right + is_right, wrong + (not is_right)
        if wrong > false_boxes * len(photos):
            break
    total = sum(len(drawn) for drawn, _ in photos)
    return right / total if total else float("nan")


def _suggester(pack: Pack, engine: str, pictures: Any, canvases: Sequence[Any] | None = None) -> Suggester:
    spec = pack.spec
    return load_engine(engine).suggester(
        {}, spec.concepts, spec.canvases if canvases is None else canvases, spec.backgrounds, pictures
    )


def _areas(pack: Pack, engine: str) -> Figures:
    """Return the IoU of each canvas's drawn area with the one proposed from the other canvases."""
    overlaps, seconds, learning = [], [], 0.0
    for canvas in pack.spec.canvases:
        if not canvas.areas:
            continue
        suggester = _suggester(
            pack, engine, pack.pictures, [other for other in pack.spec.canvases if other is not canvas]
        )
        began = time.perf_counter()
        area = suggester.area(canvas.image)
        first = time.perf_counter()
        suggester.area(canvas.image)
        seconds.append(time.perf_counter() - first)
        learning = max(learning, first - began - seconds[-1])
        shape = (canvas.image.height, canvas.image.width)
        drawn = [area.polygon for area in canvas.areas]
        overlaps.append(mask_iou(_covered(area, shape), _covered(drawn, shape)))
    return {
        "canvases": len(overlaps),
        "area_iou": _mean(overlaps),
        "area_iou_worst": min(overlaps, default=float("nan")),
        "area_seconds": _mean(seconds),
        "area_learning_seconds": learning,
    }


def _outlines(pack: Pack, suggester: Suggester) -> Figures:
    """Return the IoU of the proposed outlines with the true masks in their boxes."""
    masks = {concept.name.rpartition("/")[2]: concept.mask for concept in pack.concepts}
    overlaps, seconds = [], []
    for concept in pack.spec.concepts:
        mask = masks[concept.image.name]
        began = time.perf_counter()
        outlines = suggester.outlines(concept)
        seconds.append(time.perf_counter() - began)
        for region in outlines:
            in_box = np.zeros_like(mask)
            in_box[
                max(0, int(region.box.y)) : round(region.box.bottom),
                max(0, int(region.box.x)) : round(region.box.right),
            ] = True
            if (mask & in_box).any():
                overlaps.append(mask_iou(_covered(region.outline, mask.shape), mask & in_box))
    return {"outlines": len(overlaps), "outline_iou": _mean(overlaps), "outline_seconds": _mean(seconds)}


def _boxes(suggester: Suggester, photos: Sequence[RealImage], refs: Sequence[ImageRef]) -> Figures:
    """Return the recall of the proposed boxes on photos, and their number."""
    proposed: list[Proposed] = []
    seconds = []
    for photo, ref in zip(photos, refs, strict=True):
        began = time.perf_counter()
        boxes = suggester.boxes(ref)
        seconds.append(time.perf_counter() - began)
        proposed.append((photo.boxes, [(suggestion.box, suggestion.score) for suggestion in boxes]))
    usual = float(np.median(seconds))
    return {
        "photos": len(photos),
        "boxes": sum(len(photo.boxes) for photo in photos),
        **{f"box_recall_{overlap}": recall_at(proposed, overlap) for overlap in OVERLAPS},
        **{f"box_recall_all_{overlap}": recall_at(proposed, overlap, np.inf) for overlap in OVERLAPS},
        "boxes_proposed_a_photo": _mean([len(suggestions) for _, suggestions in proposed]),
        "box_seconds": usual,
        "box_learning_seconds": max(seconds[0] - usual, 0.0),
    }


def _covered(polygons: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """Return the mask [h, w] of what polygons cover together."""
    masks = [rasterize(np.asarray(polygon.points), shape) for polygon in polygons]
    return np.any(masks, axis=0) if masks else np.zeros(shape, bool)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def table(report: dict[str, Figures]) -> str:
    """Return the report as a Markdown table."""
    lines = [
        "| pack | area IoU (worst) | outline IoU | boxes | recall at IoU .33 / .5 | seconds: area, outlines, boxes "
        "(learning) |",
        "|---|---|---|---|---|---|",
    ]
    for name, f in report.items():
        lines.append(
            f"| {name} | {f['area_iou']:.2f} ({f['area_iou_worst']:.2f}) | {f['outline_iou']:.2f} | {f['boxes']} "
            f"| {f['box_recall_0.33']:.2f} / {f['box_recall_0.5']:.2f} | {f['area_seconds']:.2f}, "
            f"{f['outline_seconds']:.2f}, {f['box_seconds']:.2f} ({f['box_learning_seconds']:.1f}) |"
        )
    return "\n".join(lines)
