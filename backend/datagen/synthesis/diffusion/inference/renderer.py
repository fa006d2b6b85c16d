"""Rendering: composite says where and which outline, the painter paints there, the mask is measured off the pixels.

Samples are painted in groups large enough to fill the device, and given back in order. Imports torch by ``warm``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.sample import Instance, Provenance
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.identity import NAME, VERSION
from datagen.synthesis.diffusion.inference.inpainter import Order
from datagen.synthesis.diffusion.inference.mask_measurement import Painted, best, measure
from datagen.synthesis.diffusion.inference.pipeline_cache import ModelArtifacts, Warm, cached_inpainter
from datagen.synthesis.diffusion.models.crops import Place, enlarged, enlarged_mask, place_of, reduced
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.weights import pipeline_loading
from datagen.synthesis.diffusion.weights.inspection import looks_like_hub_id
from datagen.synthesis.engine import FitReport, FittedEngine, Picture, Pictures, Rendered
from datagen.synthesis.intensity import Floats, from_tones, to_tones
from datagen.synthesis.masks import outlines, tight_box

#: Painted anew with other noise so often, when nothing can be seen; then composite's own pixels are used.
ROUNDS = 2
#: What composite says of its own pixels, and does not hold of painted ones.
_OF_COMPOSITE = frozenset({"blend", "slope", "contrast"})
#: Samples painted together at most: their photos are held in memory meanwhile.
_MOST_TOGETHER = 16
#: Threads that measure what was painted, beside the one that paints.
_MEASURING = 2


@dataclass(kw_only=True)
class _Target:
    """One instance to be painted, and what was painted so far."""

    sample: int
    instance: int
    place: Place
    before: Floats
    start: Floats
    prompt: str
    painted: list[Painted]
    chosen: int | None = None


class FittedDiffusion(FittedEngine):
    """A spec the model was taught; renders any of its samples, in any order."""

    def __init__(
        self,
        spec: Spec,
        own: DiffusionParameters,
        where: CompositeParameters,
        placing: FittedEngine,
        pictures: Pictures,
        means: ModelArtifacts,
        report: FitReport,
    ) -> None:
        self._spec = spec
        self._own = own
        self._where = where
        self._placing = placing
        self._pictures = pictures
        self._means = means
        self._fit = report
        self._counts: Counter[str] = Counter()

    @property
    def report(self) -> FitReport:
        """What the fit found, and how painting went so far."""
        details = self._fit.details
        if self._counts["instances"]:
            painted, made, unseen = (self._counts[name] for name in ("instances", "candidates", "unseen"))
            details += (
                f"{counted(painted, 'example')} {by_number(painted, 'was', 'were')} painted; {made - unseen} of "
                f"{counted(made, 'candidate')} can be seen.",
            )
        warnings = self._fit.warnings
        if fallen := self._counts["composite"]:
            warnings += (
                f"in {fallen} of {counted(self._counts['instances'], 'place')} the model painted nothing that can be "
                "seen; the composite engine's pixels were used there. Fit longer (“diffusion.fit_steps”), or judge "
                "them bad.",
            )
        figures = self._fit.figures | {f"painted: {name}": float(count) for name, count in self._counts.items()}
        return replace(self._fit, details=details, warnings=warnings, figures=figures)

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        """The samples of these indices, in order.

        Raises:
            EngineError: a sample cannot be made.
            DeviceFault: the device failed.
        """
        warm = self._warm()
        together = max(1, min(_MOST_TOGETHER, warm.painter.batch // self._own.candidates))
        for start in range(0, len(indices), together):
            yield from self._render(indices[start : start + together])

    def _warm(self) -> Warm:
        return cached_inpainter(self._means, self._own)

    def _render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        placed = list(self._placing.render(indices))
        photos = [self._pictures.load(one.provenance.background) for one in placed]
        targets = [
            target
            for number, (one, photo) in enumerate(zip(placed, photos, strict=True))
            for target in self._targets(number, one, photo)
        ]
        warm = self._warm()
        for attempt in range(ROUNDS):
            self._paint(warm, [t for t in targets if t.chosen is None], placed, attempt)
        for number, (one, photo) in enumerate(zip(placed, photos, strict=True)):
            yield self._finished(one, photo, [t for t in targets if t.sample == number], warm)

    def _targets(self, number: int, one: Rendered, photo: Picture) -> Iterator[_Target]:
        for instance, labelled in enumerate(one.instances, start=1):
            place = place_of(one.mask, instance, self._own.context)
            source = one.image if self._own.refine_composite else photo
            yield _Target(
                sample=number,
                instance=instance,
                place=place,
                before=to_tones(photo[place.frame.slices]),
                start=enlarged(source, place.frame, self._own.resolution),
                prompt=self._own.prompt_for(labelled.label),
                painted=[],
            )

    def _paint(self, warm: Warm, targets: Sequence[_Target], placed: Sequence[Rendered], attempt: int) -> None:
        """Another round of candidates for every target, and the choice among them."""
        orders: list[Order] = []
        for target in targets:
            mask = enlarged_mask(target.place.room, self._own.resolution)
            sample = placed[target.sample].provenance.index
            for candidate in range(self._own.candidates):
                number = attempt * self._own.candidates + candidate
                seed = sample_seed(f"{self._spec.digest}:{sample}:{target.instance}", number)
                orders.append(Order(image=target.start, mask=mask, prompt=target.prompt, seed=seed))
        # the second round is for the few places where nothing could be seen
        most = None if attempt == 0 else self._own.candidates
        with ThreadPoolExecutor(_MEASURING) as run_periodically:  # while the next batch is painted
            made = [
                run_periodically.submit(_measured, target, painted)
                for target, painted in zip(
                    (target for target in targets for _ in range(self._own.candidates)),
                    warm.painter.paint(orders, most),
                    strict=True,
                )
            ]
        for start, target in zip(range(0, len(made), self._own.candidates), targets, strict=True):
            target.painted += [one.result() for one in made[start : start + self._own.candidates]]
            target.chosen = best(target.painted, self._where.min_contrast)

    def _finished(self, one: Rendered, photo: Picture, targets: Sequence[_Target], warm: Warm) -> Rendered:
        image, mask = photo.copy(), np.zeros(photo.shape[:2], np.uint8)
        instances: list[Instance] = []
        said = one.provenance.steps["instances"]
        assert isinstance(said, list)
        steps: list[Json] = []
        for target, labelled, laid in zip(targets, one.instances, said, strict=True):
            assert isinstance(laid, dict)
            window = target.place.frame.slices
            self._counts["instances"] += 1
            self._counts["candidates"] += len(target.painted)
            self._counts["unseen"] += sum(not p.is_seen(self._where.min_contrast) for p in target.painted)
            if target.chosen is None:
                self._counts["composite"] += 1
                own = target.place.laid
                pixels = one.image[window]
                details: dict[str, Json] = {"pixels": "composite"}
            else:
                painted = target.painted[target.chosen]
                own = painted.mask & (mask[window] == 0)
                pixels = from_tones(painted.tones, photo[window])
                if not self._own.refine_composite:
                    laid = {k: v for k, v in laid.items() if k not in _OF_COMPOSITE}
                details = {
                    "pixels": "diffusion",
                    "candidate": target.chosen,
                    "contrast": round(painted.contrast, 2),
                    "cover": round(painted.cover, 3),
                    "difference": round(painted.difference, 2),
                }
            # the one place where pixels are written: under the mask
            image[window][own] = pixels[own]
            mask[window][own] = target.instance
            box = tight_box(own)
            corner = (target.place.frame.left, target.place.frame.top)
            instances.append(
                Instance(
                    label=labelled.label,
                    box=Box(box.x + corner[0], box.y + corner[1], box.width, box.height),
                    outlines=outlines(own, corner),
                )
            )
            steps.append({**laid, **details})
        return Rendered(
            image=image,
            mask=mask,
            instances=tuple(instances),
            provenance=replace_provenance(one.provenance, self._spec, self._steps(one, steps, warm)),
        )

    def _steps(self, one: Rendered, instances: list[Json], warm: Warm) -> dict[str, Json]:
        versions: dict[str, Json] = dict(pipeline_loading.versions())
        levers: list[Json] = list(warm.tuning.levers)
        return {
            **one.provenance.steps,
            "instances": instances,
            "device": warm.device,
            "dtype": warm.dtype,
            "versions": versions,
            # a folder is known by its digest; its path is this machine's own affair
            "weights": self._own.weights if looks_like_hub_id(self._own.weights) else self._means.weights.name,
            "weights_sha256": self._means.weights_digest,
            "lora_sha256": self._means.lora_digest,
            "levers": levers,
            "batch": warm.painter.batch,
        }


def _measured(target: _Target, painted: Floats) -> Painted:
    return measure(target.before, reduced(painted, target.place, target.before.shape[2]), target.place)


def replace_provenance(placed: Provenance, spec: Spec, steps: dict[str, Any]) -> Provenance:
    """Composite's provenance as that of the diffusion engine's sample."""
    return replace(
        placed,
        spec_digest=spec.digest,
        seed=sample_seed(spec.digest, placed.index),
        engine=NAME,
        engine_version=VERSION,
        steps=steps,
    )
