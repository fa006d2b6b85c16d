"""The quality bench's figures of one pack: trained judges, the look of a method's images, and checks of the engine.

The baselines paste as many concepts into an image as the given photos show; so does Datagen's engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benches.baselines import METHODS, several
from benches.crops import Labelled, Source
from benches.packs import Pack, RealImage
from datagen.domain.geometry import Box
from datagen.evaluation import metrics
from datagen.synthesis.composite.appearance.visibility import visible
from datagen.synthesis.composite.extraction.exemplars import candidates, choose
from datagen.synthesis.composite.extraction.reference_alignment import Templates
from datagen.synthesis.engine import Rendered, load_engine
from datagen.synthesis.intensity import to_tones
from datagen.synthesis.masks import tight_box

#: Methods that make images, so that the look of their images can be compared with real ones.
MADE = (*METHODS, "ours")
#: Methods whose figures do not depend on Datagen's engine.
WITHOUT_ENGINE = ("few_true", "few_box", "all_real")
ALL = ("few_true", "few_box", "few_auto", *MADE, "ours_few", "all_real")
#: Number of images that a method makes for one training.
MADE_COUNT = 200
#: Share of the crops that come from plain backgrounds; and for ours + few, the share that comes from the few real
#: photos.
PLAIN_SHARE, FEW_SHARE = 0.2, 0.25
#: Number of draws of real objects for ``c2st_floor``.
FLOOR_DRAWS = 12
#: The smaller of the two overlaps (IoU) from which a box counts as found. Loose outlines and boxes differ by as much.
LOOSE_IOU = 0.33
#: With fewer crops than this, the look of a method's images is not evaluated.
_MIN_CROPS = 10

Figures = dict[str, float | int | None]


class PackBench:
    """The evaluation of one pack, one method at a time. Expensive results are computed once."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self._backgrounds = pack.backgrounds()
        templates = Templates(pack.spec.backgrounds, pack.pictures)
        extracted = [
            candidates(concept, pack.pictures.load(concept.image), templates)[0] for concept in pack.spec.concepts
        ]
        self._exemplars = choose([candidate for of_photo in extracted for candidate in of_photo], {})[0]
        self._counts = [len(concept.regions) for concept in pack.spec.concepts]
        self._samples: dict[int, list[Rendered]] = {}
        self._real_objects: _RealObjects | None = None

    def samples(self, seed: int) -> list[Rendered]:
        """Return the images of Datagen's engine for a seed."""
        if seed not in self._samples:
            spec = replace(self.pack.spec, seed=seed)
            fitted = load_engine(spec.engine).fit(spec, self.pack.pictures, lambda _fraction, _what: None)
            self._samples = {seed: list(fitted.render(range(MADE_COUNT)))}
        return self._samples[seed]

    def judge(self, name: str, method: str, seed: int, steps: int | None) -> Figures:
        """Train a judge on a method's images with a seed; return its figures on the real test images."""
        from benches.judges import judge_named
        from benches.judging import train

        plain = [Labelled(b, np.zeros(b.shape[:2], bool)) for b in self._backgrounds]
        sources = [Source(plain, PLAIN_SHARE)]
        if method == "ours_few":
            sources.append(Source(self._training("ours", seed), 1 - PLAIN_SHARE - FEW_SHARE))
            sources.append(Source(self._training("few_auto", seed), FEW_SHARE))
        else:
            sources.append(Source(self._training(method, seed), 1 - PLAIN_SHARE))
        judge = judge_named(name)
        regions = [region for concept in self.pack.spec.concepts for region in concept.regions]
        view = judge.view([max(region.box.width, region.box.height) for region in regions])
        segmenter = train(judge, sources, view, seed, steps)
        pixels, boxes, loose = metrics.PixelScore(), metrics.BoxScore(), metrics.BoxScore(LOOSE_IOU)
        for real in self.pack.test:
            likelihood = segmenter.likelihood(real.image)
            pixels.add(likelihood, real.mask)
            for score in (boxes, loose):
                score.add(metrics.found_boxes(likelihood), true_boxes(real))
        return {
            "ap": pixels.average_precision(),
            "ap50": boxes.average_precision(),
            "ap33": loose.average_precision(),
            "scale": view.scale,
            "crop_px": view.crop_px,
        }

    def look(self, method: str, seed: int) -> Figures:
        """Return figures of how much the crops of a method's images for one seed look like crops of real ones.

        The figures are None if there are too few crops.
        """
        real = self._real()
        crops, objects = [], []
        for image, box, object_id in self._crops(method, seed):
            crops.append(metrics.features(metrics.crop_round(image, box, real.side)))
            objects.append(object_id)
        if len(crops) < _MIN_CROPS:
            return {"c2st": None, "coverage": None}
        return {
            "c2st": metrics.c2st_auroc(real.features, np.stack(crops), real.objects, objects),
            "coverage": metrics.coverage(real.features, np.stack(crops)),
        }

    def c2st_floor(self) -> tuple[float, float]:
        """Return the mean and the standard deviation of C2ST for samples that are real.

        C2ST is a classifier's AUROC for telling two sets apart. As many real objects as there are given concepts are
        compared with the other real objects. Each is also mirrored and turned upside down.
        """
        real = self._real()
        objects = np.array(real.objects)
        aurocs = []
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
                aurocs.append(metrics.c2st_auroc(real.features[rest], np.stack(rows), list(objects[rest]), shown))
        return (float(np.mean(aurocs)), float(np.std(aurocs))) if aurocs else (0.5, 0.0)

    def checks(self) -> Figures:
        """Check the images of Datagen's engine, and compare its mattes with the true masks; return the figures."""
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
        crops = [metrics.features(metrics.crop_round(image, box, side)) for image, box, _ in self._crops("ours", 0)]
        floor, floor_sd = self.c2st_floor()
        return {
            "matte_iou": self._matte_iou(),
            "outside_changed_px": changed,
            "visible_share": visible / max(count, 1),
            "nearest_copy": metrics.nearest_distance(np.stack(few), np.stack(crops)),
            "c2st_floor": floor,
            "c2st_floor_sd": floor_sd,
        }

    def _training(self, method: str, seed: int) -> list[Labelled]:
        match method:
            case "few_true":
                return [Labelled(concept.image, concept.mask) for concept in self.pack.concepts]
            case "few_box":
                return [Labelled(concept.image, _boxes_as_mask(concept)) for concept in self.pack.concepts]
            case "few_auto":
                return [
                    Labelled(
                        self.pack.pictures.load(c.image),
                        self._auto_mask(c.image.digest[:12], c.image.height, c.image.width),
                    )
                    for c in self.pack.spec.concepts
                ]
            case "all_real":
                return [Labelled(image.image, image.mask) for image in self.pack.reference]
            case "ours":
                return [Labelled(sample.image, sample.mask > 0) for sample in self.samples(seed)]
            case _:
                chance = np.random.default_rng(seed)
                return [
                    several(method, self._exemplars, self._backgrounds, self._counts, chance) for _ in range(MADE_COUNT)
                ]

    def _auto_mask(self, digest: str, height: int, width: int) -> Any:
        mask = np.zeros((height, width), bool)
        for exemplar in self._exemplars:
            if exemplar.key.startswith(digest):
                mask[exemplar.frame.slices] |= exemplar.mask
        return mask

    def _matte_iou(self) -> float:
        """Return the mean IoU of the mattes with the true masks in their boxes."""
        truths = {concept.name.rpartition("/")[2]: concept.mask for concept in self.pack.concepts}
        ious = []
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
                ious.append(metrics.mask_iou(exemplar.mask, true & keep))
        return float(np.mean(ious)) if ious else 0.0

    def _given(self) -> list[tuple[Any, Box, str]]:
        """The concepts that the engine was given, each as image, true box and name."""
        return [(real.image, box, real.name) for real in self.pack.concepts for box in true_boxes(real)]

    def _real(self) -> _RealObjects:
        """The real concepts that the engine was not given, grouped by object, and the object of each given concept."""
        if self._real_objects is None:
            given = {concept.image.tobytes() for concept in self.pack.concepts}
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

    def _crops(self, method: str, seed: int) -> list[tuple[Any, Box, str]]:
        """The images that a method made, with the box of each concept and the object that it was made from.

        All crops of one object are kept in one fold, because a classifier recognizes an object that it was trained on.
        """
        objects = self._real().of_concept
        if method == "ours":
            crops = [
                (sample.image, instance.box, trace.concept.key if trace.concept is not None else "")
                for sample in self.samples(seed)
                for instance, trace in zip(sample.instances, sample.provenance.trace.instances, strict=True)
            ]
        else:
            crops = []
            for n, labelled in enumerate(self._training(method, seed)):
                if labelled.mask.any():
                    pasted = labelled.pasted or ((tight_box(labelled.mask), f"{method} {n}"),)
                    crops += [(labelled.image, box, origin) for box, origin in pasted]
        return [(image, box, objects.get(origin, f"made {origin}")) for image, box, origin in crops]


@dataclass(frozen=True, slots=True, kw_only=True)
class _RealObjects:
    """Crops of real concepts [48, 48, c], made from ``side`` pixels, with their features and the object of each.

    ``of_concept`` is the object of each given concept, by its exemplar's key.
    """

    features: Any
    crops: list[Any]
    objects: list[str]
    side: float
    of_concept: dict[str, str]


def true_boxes(real: RealImage) -> list[Box]:
    """The tight box of the true mask in each drawn box. A drawn box has a margin."""
    boxes = []
    for box in real.boxes:
        rows = slice(max(0, int(box.y)), int(np.ceil(box.bottom)))
        columns = slice(max(0, int(box.x)), int(np.ceil(box.right)))
        window = real.mask[rows, columns]
        if window.any():
            tight = tight_box(window)
            boxes.append(Box(tight.x + columns.start, tight.y + rows.start, tight.width, tight.height))
    return boxes


def _boxes_as_mask(real: RealImage) -> Any:
    mask = np.zeros_like(real.mask)
    for box in real.boxes:
        mask[max(0, round(box.y)) : round(box.bottom), max(0, round(box.x)) : round(box.right)] = True
    return mask


def _contrast(image: Any, background: Any, inside: Any) -> float:
    """Return the contrast-to-noise ratio of the change within a mask."""
    ys, xs = np.nonzero(inside)
    cut = (slice(max(0, ys.min() - 3), ys.max() + 4), slice(max(0, xs.min() - 3), xs.max() + 4))
    return visible(to_tones(background[cut]), to_tones(image[cut]), inside[cut])[1]
