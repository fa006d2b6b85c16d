"""``scripts/bench engine-pictures``: a picture of each step of the composite engine, for its documentation page.

The pictures are made from a pack; without one, plates are rendered. They show what the engine's own functions compute.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt

from benches.engine_speed import plates_pack
from benches.packs import Pack, pack_folders, read_pack
from benches.sheets import contact_sheet
from datagen.errors import DatagenError
from datagen.synthesis.composite.appearance.appearance_model import AppearanceModel, core, fit_appearance_model
from datagen.synthesis.composite.appearance.blending import BLENDS, BlendRegion
from datagen.synthesis.composite.appearance.pose import Cutout, apply_pose, draw_pose, fade, learn_pose
from datagen.synthesis.composite.extraction.exemplars import Candidate, Exemplar, candidates, choose
from datagen.synthesis.composite.placement.area_model import drawn_area, fit_area
from datagen.synthesis.engine import load_engine
from datagen.synthesis.intensity import Bools, channels_as, to_tones

matplotlib.use("Agg")
from matplotlib import pyplot

_TILE_PX = 150
_RED, _GREEN = (220, 30, 30), (20, 150, 60)
Picture = npt.NDArray[np.uint8]


def main(arguments: Sequence[str]) -> int:
    """Write the pictures; return 0 if all were written."""
    parser = argparse.ArgumentParser(prog="scripts/bench engine-pictures", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="PACK", help="a pack folder; without it plates are rendered")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    chosen = parser.parse_args(arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            pack = read_pack(pack_folders([chosen.data])[0] if chosen.data else plates_pack(Path(scratch)))
        except DatagenError as wrong:
            print(wrong, file=sys.stderr)
            return 2
        extracted = [
            candidate for c in pack.spec.concepts for candidate in candidates(c, pack.pictures.load(c.image))[0]
        ]
        exemplars = choose(extracted, {})[0]
        law = fit_appearance_model(exemplars)
        _save(_mattes(extracted[:5], exemplars[:5]), chosen.out / "mattes.png")
        _law_plot(exemplars, law, chosen.out / "law.png")
        _save(_poses(exemplars), chosen.out / "poses.png")
        _save(_areas(pack), chosen.out / "area.png")
        _save(_blends(pack, exemplars, law), chosen.out / "blends.png")
        spec = replace(pack.spec, parameters={})
        fitted = load_engine(spec.engine).fit(spec, pack.pictures, lambda _fraction, _what: None)
        contact_sheet(list(fitted.render(range(12))), chosen.out / "samples.png")
        print("\n".join((*fitted.report.findings, *fitted.report.details, *fitted.report.warnings)))
    return 0


def _mattes(extracted: Sequence[Candidate], exemplars: Sequence[Exemplar]) -> Picture:
    """Return a picture with one row for each box: the photo with the box, the clean fill, and every candidate matte.

    The chosen matte is green.
    """
    methods = sorted({matte.method for candidate in extracted for matte in candidate.ranked})
    rows = []
    for candidate, exemplar in zip(extracted, exemplars, strict=True):
        tiles = [_outlined(candidate.patch, candidate.hole, _RED), _tile(candidate.clean.tones)]
        for method in methods:
            mask = next((m.mask for m in candidate.ranked if m.method == method), None)
            tiles.append(_tile(candidate.patch) if mask is None else _outlined(candidate.patch, mask, _RED))
        rows.append(np.hstack([*tiles, _outlined(candidate.patch, exemplar.mask, _GREEN)]))
    return np.vstack(rows)


def _law_plot(exemplars: Sequence[Exemplar], law: AppearanceModel, path: Path) -> None:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.4, 3.4))
    under = [float(e.clean[core(e.mask)].mean()) for e in exemplars]
    inside = [float(e.patch[core(e.mask)].mean()) for e in exemplars]
    left.scatter(under, inside, color="#d2691e")
    span = np.array([min(under) - 5, max(under) + 5])
    middle = (float(np.mean(under)), float(np.mean(inside)))
    left.plot(span, middle[1] + law.slope * (span - middle[0]), color="#7a8b99")
    left.plot(span, span, color="#cccccc", linestyle=":")
    left.set_xlabel("tone of its surroundings")
    left.set_ylabel("tone of the concept")
    left.set_title(f"slope {law.slope:.2f} ± {law.doubt:.2f}: {law.kind}", fontsize=10)
    names = sorted(law.scores, key=lambda name: -law.scores[name])
    right.barh(
        names, [law.scores[n] for n in names], color=["#d2691e" if n in law.weights else "#cccccc" for n in names]
    )
    for n, name in enumerate(names):
        if name in law.weights:
            right.text(law.scores[name], n, f" used {100 * law.weights[name]:.0f} %", va="center", fontsize=8)
    right.set_xlim(0, 1.35 * max(law.scores.values()))
    right.set_title("leave-one-concept-out error of each blend", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _poses(exemplars: Sequence[Exemplar]) -> Picture:
    """Return a picture of each exemplar as photographed, beside five random poses of it."""
    prior, chance = learn_pose(exemplars), np.random.default_rng(0)
    rows = []
    for exemplar in exemplars[:3]:
        cutout, tiles = Cutout(exemplar), [_outlined(exemplar.patch, exemplar.mask, _GREEN)]
        for n in range(5):
            pose = draw_pose(
                prior, chance, size_at=(n + 0.5) / 5, size_factor=1.0, size_spread=1.0, direction_spread=1.0
            )
            posed = apply_pose(cutout, pose)
            if posed is not None:
                tiles.append(_tile(posed.patch))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def _areas(pack: Pack) -> Picture:
    """Return a picture of canvases above backgrounds.

    A canvas shows the drawn area (red) and the area that a model predicts without this canvas (green). A background
    shows the predicted area.
    """
    shown = [(pack.pictures.load(c.image), [a.polygon for a in c.areas]) for c in pack.spec.canvases[:5]]
    drawn = [(picture, drawn_area(polygons, *picture.shape[:2])) for picture, polygons in shown]
    above, below = [], []
    for n, (picture, mask) in enumerate(drawn):
        others = [polygon for k, polygon in enumerate(drawn) if k != n]
        model = fit_area(others)
        guess = model.allowed(model.likelihood(picture), 0.5)
        above.append(_outlined_small(picture, [(mask, _RED), (guess, _GREEN)]))
    model = fit_area(drawn)
    for picture in pack.backgrounds()[: len(above)]:
        below.append(_outlined_small(picture, [(model.allowed(model.likelihood(picture), 0.5), _GREEN)]))
    return np.vstack([np.hstack(above), np.hstack(below)])


def _blends(pack: Pack, exemplars: Sequence[Exemplar], law: AppearanceModel) -> Picture:
    """Return a picture of a concept as photographed, and of the concept on a background with each blend."""
    rows = []
    for exemplar, picture in zip(exemplars[:3], pack.backgrounds()[:3], strict=False):
        height, width = exemplar.mask.shape
        # the middle of a background: what is compared is the blend, not the place
        top, left = ((full - part) // 2 for full, part in zip(picture.shape[:2], (height, width), strict=True))
        if top < 0 or left < 0:
            continue
        ground = to_tones(picture[top : top + height, left : left + width])
        posed = apply_pose(
            Cutout(exemplar),
            draw_pose(
                learn_pose([exemplar]),
                np.random.default_rng(0),
                size_at=0.5,
                size_factor=1.0,
                size_spread=0.0,
                direction_spread=0.0,
            ),
        )
        if posed is None:
            continue
        rows_, columns_ = posed.mask.shape
        window = ground[:rows_, :columns_]
        if window.shape[:2] != posed.mask.shape:
            continue
        laying = BlendRegion(
            background=window,
            patch=channels_as(posed.patch, window.shape[2]),
            clean=channels_as(posed.clean, window.shape[2]),
            mask=posed.mask,
            fade=fade(posed, 1.0),
            opacity=posed.opacity,
            slope=law.slope,
        )
        laid = [np.where(posed.mask[:, :, None], blend(laying), window) for blend in BLENDS.values()]
        rows.append(np.hstack([_tile(posed.patch), *(_tile(blended) for blended in laid)]))
    names = np.full((18, rows[0].shape[1], 3), 255, np.uint8)
    for n, name in enumerate(["photo", *BLENDS]):
        cv2.putText(names, name, (n * _TILE_PX + 4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([names, *rows])


def _tile(tones: npt.NDArray[Any]) -> Picture:
    scale = _TILE_PX / max(tones.shape[:2])
    size = (max(1, round(tones.shape[1] * scale)), max(1, round(tones.shape[0] * scale)))
    small = cv2.resize(np.clip(channels_as(tones, 3), 0, 255).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    tile = np.full((_TILE_PX, _TILE_PX, 3), 255, np.uint8)
    tile[: size[1], : size[0]] = small
    return tile


def _outlined(tones: npt.NDArray[Any], mask: Bools, colour: tuple[int, int, int]) -> Picture:
    tile = _tile(tones)
    scale = _TILE_PX / max(mask.shape)
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    shown = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, contours, -1, colour, 1)
    return tile


def _outlined_small(picture: npt.NDArray[Any], masks: Sequence[tuple[Bools, tuple[int, int, int]]]) -> Picture:
    tile = _tile(to_tones(cv2.resize(picture, masks[0][0].shape[::-1], interpolation=cv2.INTER_AREA)))
    for mask, colour in masks:
        scale = _TILE_PX / max(mask.shape)
        size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
        shown = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(shown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, contours, -1, colour, 1)
    return tile


def _save(picture: Picture, path: Path) -> None:
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
