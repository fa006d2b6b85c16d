"""``scripts/bench mattes``: how well the composite engine's mattes agree with true masks.

The engine gets photos with boxes, in studies of 8 photos. Its masks are compared with the true masks by intersection
over union (IoU). The photos are drawn shapes, the demo's plates, and the given packs: their concepts, and further
studies from their reference photos. ``oracle`` is the IoU of the best candidate. If it is far above that of the chosen
matte, the ranking is at fault; if both are low, the candidates are. The doubt of a matte is compared with its IoU."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benches.matte_scenes import Scene, drawn_scenes
from benches.packs import Pack, pack_folders, read_pack
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.errors import DatagenError
from datagen.evaluation.metrics import mask_iou
from datagen.synthesis.composite.extraction.exemplars import DOUBTFUL, Candidate, Exemplar, candidates, choose
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.engine import Picture
from datagen.synthesis.intensity import Bools, channels_as, is_two_level, to_tones

#: Number of photos in a study.
_STUDY = 8
#: A matte with an IoU below this is wrong, and its doubt should be high.
_WRONG = 0.5
_TILE_PX, _ACROSS = 150, 9
_RED, _GREEN, _BLUE = (220, 30, 30), (20, 200, 60), (40, 90, 255)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One box: its candidate mattes, the exemplar that the engine uses, and the true mask in the window."""

    candidate: Candidate
    exemplar: Exemplar
    truth: Bools

    @property
    def iou(self) -> float:
        """IoU of the chosen matte and the true mask."""
        return mask_iou(self.exemplar.mask, self.truth)

    @property
    def oracle(self) -> float:
        """IoU of the best candidate matte and the true mask."""
        return max(self.iou, *(mask_iou(matte.mask, self.truth) for matte in self.candidate.ranked))


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0."""
    parser = argparse.ArgumentParser(prog="scripts/bench mattes", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="*", default=[], metavar="PACK", help="pack folders with true masks")
    parser.add_argument("--kinds", nargs="*", help="only the kinds whose names contain one of these")
    parser.add_argument("--seed", type=int, default=1, help="seed of the drawn scenes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write a picture of every kind here")
    chosen = parser.parse_args(arguments)
    try:
        packs = [read_pack(folder) for folder in pack_folders(chosen.data)]
    except DatagenError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    kinds = {}
    for kind, studies in _studies(packs, chosen.seed):
        if chosen.kinds and not any(part in kind for part in chosen.kinds):
            continue
        began = time.perf_counter()
        measured = [matte for study, templates in studies for matte in _measured(study, templates)]
        kinds[kind] = _figures(measured, time.perf_counter() - began)
        if chosen.out:
            chosen.out.mkdir(parents=True, exist_ok=True)
            _sheet(measured, chosen.out / f"{kind.replace(' ', '_').replace(',', '')}.png")
    report = {"kinds": kinds, "doubt": _doubt([box for figures in kinds.values() for box in figures["boxes"]])}
    print(_table(report))
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


def _studies(packs: Sequence[Pack], seed: int) -> Iterable[tuple[str, list[tuple[list[Scene], Templates | None]]]]:
    """Yield every kind of photo with its studies.

    A study is its photos and its search for clean photos of the same part, or None without a search.
    """
    for pack in packs:
        templates = Templates(pack.spec.backgrounds, pack.pictures)
        scenes = [
            Scene(image=real.image, concepts=tuple((box, real.mask) for box in real.boxes))
            for real in (*pack.concepts, *pack.reference)
            if real.boxes and real.mask.any()
        ]
        given = len(pack.concepts)
        yield f"{pack.name}, concepts", [(scenes[:given], templates)]
        rest = scenes[given:]
        if rest:
            yield (
                f"{pack.name}, reference",
                [(rest[n : n + _STUDY], templates) for n in range(0, len(rest), _STUDY)],
            )
    for kind, drawn in drawn_scenes(_plain_tiles(packs), seed).items():
        yield kind, [(drawn[n : n + _STUDY], None) for n in range(0, len(drawn), _STUDY)]


def _plain_tiles(packs: Sequence[Pack]) -> list[Picture]:
    """Return the backgrounds of the first pack whose photos are grey and have more than two tones.

    Return an empty list if there is no such pack.
    """
    for pack in packs:
        plain = pack.backgrounds()
        if plain and plain[0].ndim == 2 and not is_two_level(to_tones(plain[0]).reshape(-1, 1)):
            return plain
    return []


def _measured(study: Sequence[Scene], templates: Templates | None) -> list[Measured]:
    """Cut out all boxes of a study, as a fit does; return them with the true masks in their boxes."""
    extracted: list[Candidate] = []
    truths: list[Bools] = []
    for number, scene in enumerate(study):
        height, width = scene.image.shape[:2]
        ref = ImageRef(digest=f"{number:012}" + 52 * "0", width=width, height=height, name=f"{number:03}")
        regions = tuple(ConceptRegion(label="concept", box=box) for box, _ in scene.concepts)
        of_photo, _ = candidates(ConceptImage(image=ref, regions=regions), scene.image, templates)
        by_key = {int(candidate.key.rpartition(":")[2]): candidate for candidate in of_photo}
        for region, candidate in by_key.items():
            extracted.append(candidate)
            truths.append(scene.concepts[region][1][candidate.frame.slices] & candidate.hole)
    exemplars, _ = choose(extracted, {})
    return [
        Measured(candidate=candidate, exemplar=exemplar, truth=truth)
        for candidate, exemplar, truth in zip(extracted, exemplars, truths, strict=True)
        if truth.any()
    ]


def _figures(measured: Sequence[Measured], seconds: float) -> dict[str, Any]:
    ious = [matte.iou for matte in measured]
    return {
        "count": len(ious),
        "mean": float(np.mean(ious)),
        "median": float(np.median(ious)),
        "worst": float(np.min(ious)),
        "oracle": float(np.mean([matte.oracle for matte in measured])),
        "ms_per_box": 1000 * seconds / len(ious),
        "methods": dict(Counter(matte.exemplar.method for matte in measured).most_common()),
        "boxes": [
            {
                "iou": matte.iou,
                "oracle": matte.oracle,
                "doubt": matte.exemplar.doubt,
                "method": matte.exemplar.method,
                "candidates": {m.method: [mask_iou(m.mask, matte.truth), m.score] for m in matte.candidate.ranked},
            }
            for matte in measured
        ],
    }


def _doubt(boxes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return figures of how well the doubt separates wrong mattes from right ones."""
    doubts = np.array([box["doubt"] for box in boxes])
    wrong = np.array([box["iou"] < _WRONG for box in boxes])
    asked = doubts >= DOUBTFUL
    if not wrong.any() or wrong.all():
        return {"wrong": float(wrong.mean())}
    less = (doubts[wrong][:, None] > doubts[~wrong]).mean() + 0.5 * (doubts[wrong][:, None] == doubts[~wrong]).mean()
    return {
        "wrong": float(wrong.mean()),
        "auroc": float(less),
        "asked": float(asked.mean()),
        "wrong_asked": float(asked[wrong].mean()),
        "asked_wrong": float(wrong[asked].mean()) if asked.any() else 0.0,
    }


def _table(report: dict[str, Any]) -> str:
    lines = [
        "| kind | boxes | mean | median | worst | oracle | ms a box | methods |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, f in report["kinds"].items():
        methods = ", ".join(f"{name} {count}" for name, count in f["methods"].items())
        lines.append(
            f"| {kind} | {f['count']} | {f['mean']:.2f} | {f['median']:.2f} | {f['worst']:.2f} | {f['oracle']:.2f} "
            f"| {f['ms_per_box']:.0f} | {methods} |"
        )
    lines.append("doubt: " + ", ".join(f"{name} {value:.2f}" for name, value in report["doubt"].items()))
    return "\n".join(lines)


def _sheet(measured: Sequence[Measured], path: Path) -> None:
    """Write a picture with three tiles for each box, the worst box first.

    The tiles show the box; the chosen matte (red); and the true mask (green) with the best candidate (blue).
    """
    tiles = []
    for matte in sorted(measured, key=lambda m: m.iou):
        best = max(matte.candidate.ranked, key=lambda m: mask_iou(m.mask, matte.truth))
        chosen = _outlined(matte.candidate.patch, [(matte.exemplar.mask, _RED)])
        for row, text in ((12, f"{matte.iou:.2f} d{matte.exemplar.doubt:.2f}"), (_TILE_PX - 5, matte.exemplar.method)):
            cv2.putText(chosen, text, (2, row), cv2.FONT_HERSHEY_PLAIN, 0.9, (255, 255, 0), 1)
        compared = _outlined(matte.candidate.patch, [(matte.truth, _GREEN), (best.mask, _BLUE)])
        text = f"{matte.oracle:.2f} {best.method}"
        cv2.putText(compared, text, (2, 12), cv2.FONT_HERSHEY_PLAIN, 0.9, (255, 255, 0), 1)
        tiles += [_outlined(matte.candidate.patch, [(matte.candidate.hole, _RED)]), chosen, compared]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % _ACROSS)
    rows = [np.hstack(tiles[n : n + _ACROSS]) for n in range(0, len(tiles), _ACROSS)]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _outlined(tones: npt.NDArray[Any], masks: Sequence[tuple[Bools, tuple[int, int, int]]]) -> npt.NDArray[np.uint8]:
    scale = _TILE_PX / max(tones.shape[:2])
    size = (max(1, round(tones.shape[1] * scale)), max(1, round(tones.shape[0] * scale)))
    tile = np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)
    shown = np.clip(channels_as(tones, 3), 0, 255).astype(np.uint8)
    tile[: size[1], : size[0]] = cv2.resize(shown, size, interpolation=cv2.INTER_NEAREST)
    for mask, colour in masks:
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, contours, -1, colour, 1)
    return tile
