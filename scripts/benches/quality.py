"""``scripts/bench quality``: does it help? One segmenter, trained on what each method makes, on real images.

For every pack: few real (true masks, boxes as masks, automatic mattes), box paste, Dwibedi, matte + Poisson, NSA,
Perlin, ours, ours + few real, all real; seeds are paired over methods. Every method may also learn from the plain
backgrounds that the user has. Prints a table; ``--json`` writes the figures, ``--out`` a contact sheet and a plot.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benches.baselines import METHODS
from benches.packs import Pack, RealImage, pack_folders, read_pack
from datagen.domain.geometry import Box
from datagen.errors import DatagenError
from datagen.evaluation import metrics
from datagen.synthesis.composite.appearance.visibility import visible
from datagen.synthesis.composite.extraction.exemplars import candidates, choose
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.engine import Rendered, load_engine
from datagen.synthesis.intensity import to_tones
from datagen.synthesis.masks import tight_box

ALL = (
    *("few_true", "few_box", "few_auto", "box_paste", "dwibedi", "poisson", "nsa", "perlin"),
    *("ours", "ours_few", "all_real"),
)
#: Methods that make images, so that their look can be judged too.
MADE = ("box_paste", "dwibedi", "poisson", "nsa", "perlin", "ours")
#: Images a method makes for one training.
MADE_COUNT = 200
#: Share of the crops that come from plain backgrounds, and, for ours + few, from the few.
PLAIN_SHARE, FEW_SHARE = 0.2, 0.25
#: Draws of other real objects for the floor of C2ST.
FLOOR_DRAWS = 12
#: Fewer crops than this say nothing of a method's look.
_MIN_CROPS = 10


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if every pack was evaluated."""
    parser = argparse.ArgumentParser(prog="scripts/bench quality", description=__doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="PACK", help="pack folders, or a folder of them"
    )
    parser.add_argument("--seeds", type=int, default=5, help="paired seeds (5)")
    parser.add_argument("--shots", type=int, default=8, help="concept images used (8)")
    parser.add_argument("--steps", type=int, default=400, help="training steps of the segmenter (400)")
    parser.add_argument("--methods", nargs="+", choices=ALL, default=list(ALL), help="only these")
    parser.add_argument("--engine", default="composite", help="the engine that is ours (composite)")
    parser.add_argument("--parameters", type=json.loads, default={}, help="the engine's parameters, as JSON")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--out", type=Path, help="folder for a contact sheet and a plot")
    parser.add_argument("--kept", type=Path, help="keep each training's figures here and do not repeat those there")
    chosen = parser.parse_args(arguments)
    kept: dict[str, Any] = json.loads(chosen.kept.read_text()) if chosen.kept and chosen.kept.exists() else {}
    report: dict[str, Any] = {"packs": {}, "seeds": chosen.seeds, "shots": chosen.shots, "steps": chosen.steps}
    try:
        packs = [read_pack(folder, chosen.shots) for folder in pack_folders(chosen.data)]
    except DatagenError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    benches = [
        _PackBench(replace(pack, spec=replace(pack.spec, engine=chosen.engine, parameters=chosen.parameters)))
        for pack in packs
    ]
    total, done, began = len(benches) * chosen.seeds * len(chosen.methods), 0, time.monotonic()
    for seed in range(chosen.seeds):
        for bench in benches:
            for method in chosen.methods:
                key = f"{bench.pack.name} {method} {seed} {chosen.steps} {chosen.shots}"
                if key not in kept:
                    kept[key] = bench.judge(method, seed, chosen.steps)
                    if chosen.kept:
                        chosen.kept.write_text(json.dumps(kept, indent=1))
                done += 1
                left = (time.monotonic() - began) / done * (total - done)
                figures = " ".join(f"{k} {v:.3f}" for k, v in kept[key].items())
                print(f"[{done}/{total}, about {left / 60:.0f} min left] {key}: {figures}", file=sys.stderr, flush=True)
    for bench in benches:
        methods = {}
        for method in chosen.methods:
            runs = [kept[f"{bench.pack.name} {method} {s} {chosen.steps} {chosen.shots}"] for s in range(chosen.seeds)]
            methods[method] = _summary(runs) | bench.look(method, chosen.seeds)
        report["packs"][bench.pack.name] = {"methods": methods} | bench.checks()
        if chosen.out:
            from benches.sheets import contact_sheet

            chosen.out.mkdir(parents=True, exist_ok=True)
            contact_sheet(bench.samples(0)[:40], chosen.out / f"{bench.pack.name}.png")
    if chosen.out:
        from benches.sheets import quality_plot

        quality_plot(report, chosen.out / "quality.png")
    print(table(report))
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


def table(report: dict[str, Any]) -> str:
    """The figures for people."""
    lines = []
    for name, pack in report["packs"].items():
        lines.append(
            f"\n{name}: matte IoU {pack['matte_iou']:.2f}, {pack['outside_changed_px']} px changed outside masks, "
            f"{100 * pack['visible_share']:.0f} % visible, nearest copy {pack['nearest_copy']:.2f}, "
            f"C2ST of as many other real objects {pack['c2st_floor']:.2f} ± {pack['c2st_floor_sd']:.2f}"
        )
        lines.append(f"{'method':<10} {'pixel AP':>14} {'box AP50':>14} {'C2ST':>11} {'coverage':>9}")
        for method, f in pack["methods"].items():
            c2st = "–" if f["c2st"] is None else f"{f['c2st']:.2f} ± {f['c2st_sd']:.2f}"
            covered = "–" if f["coverage"] is None else f"{f['coverage']:.2f}"
            lines.append(
                f"{method:<10} {f['ap']:>7.3f} ± {f['ap_sd']:.3f} {f['ap50']:>7.3f} ± {f['ap50_sd']:.3f} "
                f"{c2st:>11} {covered:>9}"
            )
    return "\n".join(lines)


class _PackBench:
    """The evaluation of one pack, method by method; costly results are computed once."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self._backgrounds = pack.backgrounds()
        templates = Templates(pack.spec.backgrounds, pack.pictures)
        found = [candidates(one, pack.pictures.load(one.image), templates)[0] for one in pack.spec.concepts]
        self._exemplars = choose([one for of_photo in found for one in of_photo], {})[0]
        self._samples: dict[int, list[Rendered]] = {}
        self._real_objects: _RealObjects | None = None

    def samples(self, seed: int) -> list[Rendered]:
        """Return the images of Datagen's engine for a seed."""
        if seed not in self._samples:
            spec = replace(self.pack.spec, seed=seed)
            fitted = load_engine(spec.engine).fit(spec, self.pack.pictures, lambda _fraction, _what: None)
            self._samples = {seed: list(fitted.render(range(MADE_COUNT)))}
        return self._samples[seed]

    def judge(self, method: str, seed: int, steps: int) -> dict[str, float]:
        """Train on a method's images with a seed; test on the real ones."""
        from benches.segmenter import Labelled, Source, train

        plain = [Labelled(b, np.zeros(b.shape[:2], bool)) for b in self._backgrounds]
        sources = [Source(plain, PLAIN_SHARE)]
        if method == "ours_few":
            sources.append(Source(self._training("ours", seed), 1 - PLAIN_SHARE - FEW_SHARE))
            sources.append(Source(self._training("few_auto", seed), FEW_SHARE))
        else:
            sources.append(Source(self._training(method, seed), 1 - PLAIN_SHARE))
        segmenter = train(sources, seed, steps)
        pixels, boxes = metrics.PixelScore(), metrics.BoxScore()
        for real in self.pack.test:
            likelihood = segmenter.likelihood(real.image)
            pixels.add(likelihood, real.mask)
            boxes.add(metrics.found_boxes(likelihood), true_boxes(real))
        return {"ap": pixels.average_precision(), "ap50": boxes.average_precision()}

    def look(self, method: str, seeds: int) -> dict[str, float | None]:
        """Compare a method's crops with real ones, as the mean of the seeds; None if it makes none.

        One seed's draw of samples moves C2ST by .03 either way.
        """
        c2st, covered = [], []
        for seed in range(seeds if method in MADE else 0):
            real = self._real()
            made, objects = [], []
            for one, object_id in self._crops(method, seed):
                made.append(metrics.features(metrics.crop_round(one[0], one[1], real.side)))
                objects.append(object_id)
            if len(made) >= _MIN_CROPS:
                c2st.append(metrics.c2st_auroc(real.features, np.stack(made), real.objects, objects))
                covered.append(metrics.coverage(real.features, np.stack(made)))
        return {
            "c2st": float(np.mean(c2st)) if c2st else None,
            "c2st_sd": float(np.std(c2st, ddof=1)) if len(c2st) > 1 else 0.0,
            "coverage": float(np.mean(covered)) if covered else None,
        }

    def c2st_floor(self) -> tuple[float, float]:
        """Return C2ST's mean and deviation for samples that are real.

        As many other real objects as concepts were given, each mirrored and turned upside down, against the rest.
        """
        real = self._real()
        objects = np.array(real.objects)
        found = []
        for draw in range(FLOOR_DRAWS):
            chance = np.random.default_rng(draw)
            drawn = chance.permutation(sorted(set(objects)))[: len(self._exemplars)]
            rows, shown = [], []
            for object_id in drawn:
                crop = real.crops[int(chance.choice(np.flatnonzero(objects == object_id)))]
                for way in (crop, crop[::-1], crop[:, ::-1], crop[::-1, ::-1]):
                    rows.append(metrics.features(np.ascontiguousarray(way)))
                    shown.append(str(object_id))
            rest = ~np.isin(objects, drawn)
            if rest.sum() >= 10:
                found.append(metrics.c2st_auroc(real.features[rest], np.stack(rows), list(objects[rest]), shown))
        return (float(np.mean(found)), float(np.std(found))) if found else (0.5, 0.0)

    def checks(self) -> dict[str, float | int]:
        """Check the images of Datagen's engine, and compare the mattes with the true masks."""
        changed, visible, count = 0, 0, 0
        for sample in self.samples(0):
            background = self.pack.pictures.load(sample.provenance.background)
            different = sample.image != background
            different = different if different.ndim == 2 else different.any(axis=2)
            changed += int((different & (sample.mask == 0)).sum())
            for number in range(1, len(sample.instances) + 1):
                inside = sample.mask == number
                visible += int(_contrast(sample.image, background, inside) >= 2)
                count += 1
        side = self._real().side
        few = [metrics.features(metrics.crop_round(image, box, side)) for image, box, _ in self._given()]
        made = [metrics.features(metrics.crop_round(one[0], one[1], side)) for one, _ in self._crops("ours", 0)]
        floor, floor_sd = self.c2st_floor()
        return {
            "matte_iou": self._matte_iou(),
            "outside_changed_px": changed,
            "visible_share": visible / max(count, 1),
            "nearest_copy": metrics.nearest_distance(np.stack(few), np.stack(made)),
            "c2st_floor": floor,
            "c2st_floor_sd": floor_sd,
        }

    def _training(self, method: str, seed: int) -> list[Any]:
        from benches.segmenter import Labelled

        match method:
            case "few_true":
                return [Labelled(one.image, one.mask) for one in self.pack.concepts]
            case "few_box":
                return [Labelled(one.image, _boxes_as_mask(one)) for one in self.pack.concepts]
            case "few_auto":
                return [
                    Labelled(
                        self.pack.pictures.load(c.image),
                        self._auto_mask(c.image.digest[:12], c.image.height, c.image.width),
                    )
                    for c in self.pack.spec.concepts
                ]
            case "all_real":
                return [Labelled(one.image, one.mask) for one in self.pack.reference]
            case "ours":
                return [Labelled(one.image, one.mask > 0) for one in self.samples(seed)]
            case _:
                chance = np.random.default_rng(seed)
                make = METHODS[method]
                return [make(self._exemplars, self._backgrounds, chance) for _ in range(MADE_COUNT)]

    def _auto_mask(self, digest: str, height: int, width: int) -> Any:
        mask = np.zeros((height, width), bool)
        for exemplar in self._exemplars:
            if exemplar.key.startswith(digest):
                mask[exemplar.frame.slices] |= exemplar.mask
        return mask

    def _matte_iou(self) -> float:
        """Compare the matte of each box with the true mask in it."""
        truths = {one.name.rpartition("/")[2]: one.mask for one in self.pack.concepts}
        found = []
        for exemplar in self._exemplars:
            if exemplar.name not in truths:
                continue
            true = truths[exemplar.name][exemplar.frame.slices].copy()
            keep = np.zeros_like(true)
            box, frame = exemplar.box, exemplar.frame
            keep[
                max(0, int(box.y) - frame.top) : int(np.ceil(box.bottom)) - frame.top,
                max(0, int(box.x) - frame.left) : int(np.ceil(box.right)) - frame.left,
            ] = True
            if (true & keep).any():
                found.append(metrics.mask_iou(exemplar.mask, true & keep))
        return float(np.mean(found)) if found else 0.0

    def _given(self) -> list[tuple[Any, Box, str]]:
        """The concepts the engine was given: image, true box and name."""
        return [(real.image, box, real.name) for real in self.pack.concepts for box in true_boxes(real)]

    def _real(self) -> _RealObjects:
        """The real concepts that the engine did not get, grouped by object; and those whose object it got."""
        if self._real_objects is None:
            given = {one.image.tobytes() for one in self.pack.concepts}
            shown = [
                (real.image, box)
                for real in (*self.pack.reference, *self.pack.test)
                if real.image.tobytes() not in given
                for box in true_boxes(real)
            ]
            side = 2.0 * float(np.median([max(box.width, box.height) for _, box in shown])) + 8
            crops = [metrics.crop_round(image, box, side) for image, box in shown]
            few = self._given()
            numbers = metrics.object_groups([*crops, *(metrics.crop_round(image, box, side) for image, box, _ in few)])
            objects = {}
            for exemplar in self._exemplars:
                same = [n for n in range(len(few)) if few[n][2].rpartition("/")[2] == exemplar.name]
                if same:
                    nearest = max(same, key=lambda n, box=exemplar.box: metrics.box_iou(few[n][1], box))
                    objects[exemplar.key] = str(numbers[len(crops) + nearest])
            self._real_objects = _RealObjects(
                features=np.stack([metrics.features(crop) for crop in crops]),
                crops=crops,
                objects=[str(number) for number in numbers[: len(crops)]],
                side=side,
                of_concept=objects,
            )
        return self._real_objects

    def _crops(self, method: str, seed: int) -> list[tuple[tuple[Any, Box], str]]:
        """Images that a method made, with the object's place and the concept that it was made of.

        A classifier recognizes an object that it was trained on, so all crops of one object are kept in one fold.
        """
        objects = self._real().of_concept
        if method == "ours":
            made = [
                ((one.image, instance.box), trace.concept.key if trace.concept is not None else "")
                for one in self.samples(seed)
                for instance, trace in zip(one.instances, one.provenance.trace.instances, strict=True)
            ]
        else:
            made = [
                ((one.image, tight_box(one.mask)), one.origin or f"{method} {n}")
                for n, one in enumerate(self._training(method, seed))
                if one.mask.any()
            ]
        return [(one, objects.get(origin, f"made {origin}")) for one, origin in made]


@dataclass(frozen=True, slots=True, kw_only=True)
class _RealObjects:
    """Crops of real concepts [48, 48, c] of ``side`` pixels, their features, and the concept that each shows.

    ``of_concept`` is the object of each given concept, by its exemplar's key.
    """

    features: Any
    crops: list[Any]
    objects: list[str]
    side: float
    of_concept: dict[str, str]


def true_boxes(real: RealImage) -> list[Box]:
    """The tight boxes of the true mask within each drawn box: drawn boxes have the annotator's margin."""
    found = []
    for box in real.boxes:
        rows = slice(max(0, int(box.y)), int(np.ceil(box.bottom)))
        columns = slice(max(0, int(box.x)), int(np.ceil(box.right)))
        window = real.mask[rows, columns]
        if window.any():
            tight = tight_box(window)
            found.append(Box(tight.x + columns.start, tight.y + rows.start, tight.width, tight.height))
    return found


def _boxes_as_mask(real: RealImage) -> Any:
    mask = np.zeros_like(real.mask)
    for box in real.boxes:
        mask[max(0, round(box.y)) : round(box.bottom), max(0, round(box.x)) : round(box.right)] = True
    return mask


def _contrast(image: Any, background: Any, inside: Any) -> float:
    """Contrast-to-noise of the change within a mask."""
    ys, xs = np.nonzero(inside)
    cut = (slice(max(0, ys.min() - 3), ys.max() + 4), slice(max(0, xs.min() - 3), xs.max() + 4))
    return visible(to_tones(background[cut]), to_tones(image[cut]), inside[cut])[1]


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    figures = {}
    for name in ("ap", "ap50"):
        values = [run[name] for run in runs]
        figures |= {
            name: float(np.mean(values)),
            f"{name}_sd": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        }
    return figures
