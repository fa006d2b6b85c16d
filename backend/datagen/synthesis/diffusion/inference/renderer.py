"""Renders samples: composite provides places and outlines, the model inpaints, and the masks are measured.

Samples are inpainted in groups that are large enough to fill the device, and returned in order. This module imports
torch through ``pipeline_cache``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage, ImageRef
from datagen.domain.sample import Instance, Provenance
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.trace import Draws, InstanceTrace, Trace
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.draws import ABOUT_PIXELS
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.identity import NAME, VERSION
from datagen.synthesis.diffusion.inference.inpainter import Order
from datagen.synthesis.diffusion.inference.mask_measurement import Painted, best, measure
from datagen.synthesis.diffusion.inference.pipeline_cache import ModelArtifacts, Warm, cached_inpainter
from datagen.synthesis.diffusion.models.crops import Place, enlarged, enlarged_mask, place_of, reduced
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.settings_draws import PaintSettings, SettingsChoice
from datagen.synthesis.diffusion.weights import pipeline_loading
from datagen.synthesis.engine import (
    ConceptMatte,
    FitReport,
    FittedEngine,
    LearnedArea,
    Picture,
    Pictures,
    Rendered,
)
from datagen.synthesis.intensity import Floats, from_tones, to_tones
from datagen.synthesis.masks import outlines, tight_box
from datagen.synthesis.model_files.hub import looks_like_hub_id

#: Maximum rounds of inpainting, each with other noise, until a candidate is visible. If none is visible after them,
#: composite's pixels are used.
ROUNDS = 2
#: Maximum number of samples that are inpainted together; it is limited because their photos are held in memory.
_MAX_TOGETHER = 16
#: Number of threads that measure candidates while another thread inpaints.
_MEASURING = 2


@dataclass(kw_only=True)
class _Target:
    """One instance to inpaint, with the candidates painted so far."""

    sample: int
    instance: int
    place: Place
    before: Floats
    start: Floats
    prompt: str
    painted: list[Painted]
    chosen: int | None = None


class FittedDiffusion(FittedEngine):
    """A fitted spec; renders any of its samples, in any order."""

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
        """The report of the fit, with the counts of candidates so far."""
        report = FitReport(figures={f"painted: {name}": float(count) for name, count in self._counts.items()})
        if self._counts["instances"]:
            painted, tried, unseen = (self._counts[name] for name in ("instances", "candidates", "unseen"))
            detail = (
                f"{counted(painted, 'example')} {by_number(painted, 'was', 'were')} painted; {tried - unseen} of "
                f"{counted(tried, 'candidate')} can be seen."
            )
            report += FitReport(details=(detail,))
        if places := self._counts["composite"]:
            warning = (
                f"in {places} of {counted(self._counts['instances'], 'place')} the model painted nothing that can be "
                "seen; the composite engine's pixels were used there. Fit longer (“diffusion.fit_steps”), or judge "
                "them bad."
            )
            report += FitReport(warnings=(warning,))
        return self._fit + report

    def mattes(self, concept: ConceptImage) -> tuple[ConceptMatte, ...]:
        """Return composite's mattes: the model was trained on these pixels."""
        return self._placing.mattes(concept)

    def areas(self, photo: ImageRef) -> tuple[LearnedArea, ...]:
        """Return composite's areas, because composite chooses the places."""
        return self._placing.areas(photo)

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        """Yield the samples of these indices, in order.

        Raises:
            EngineError: a sample cannot be made.
            DeviceFault: the device failed.
        """
        warm = self._warm()
        group_size = max(1, min(_MAX_TOGETHER, warm.painter.batch // self._own.candidates))
        for start in range(0, len(indices), group_size):
            yield from self._render(indices[start : start + group_size])

    def _warm(self) -> Warm:
        return cached_inpainter(self._means, self._own)

    def _render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        placed = list(self._placing.render(indices))
        photos = [self._pictures.load(sample.provenance.background) for sample in placed]
        targets = [
            target
            for number, (sample, photo) in enumerate(zip(placed, photos, strict=True))
            for target in self._targets(number, sample, photo)
        ]
        warm = self._warm()
        names = warm.painter.drawable if self._own.vary else frozenset[str]()
        choice = SettingsChoice(warm.painter.usual, names, self._where.preference)
        settings = [
            choice.choose(self._spec.digest, sample.provenance.index, self._known(sample.provenance.trace))
            for sample in placed
        ]
        for attempt in range(ROUNDS):
            left = [target for target in targets if target.chosen is None]
            # one call of the pipeline has one number of steps
            for same, group in groupby(left, key=lambda target: settings[target.sample]):
                self._paint(warm, list(group), placed, same, attempt)
        for number, (sample, photo) in enumerate(zip(placed, photos, strict=True)):
            own = settings[number].draws(names)
            yield self._finish(sample, photo, [t for t in targets if t.sample == number], own, warm)

    def _known(self, trace: Trace) -> list[Draws]:
        """Return the draws of each instance that its inpainted pixels will have."""
        if self._own.refine_composite:
            return [instance.draws or {} for instance in trace.instances]
        return [_about_place(instance) for instance in trace.instances]

    def _targets(self, number: int, sample: Rendered, photo: Picture) -> Iterator[_Target]:
        for instance, labelled in enumerate(sample.instances, start=1):
            place = place_of(sample.mask, instance, self._own.context)
            source = sample.image if self._own.refine_composite else photo
            yield _Target(
                sample=number,
                instance=instance,
                place=place,
                before=to_tones(photo[place.frame.slices]),
                start=enlarged(source, place.frame, self._own.resolution),
                prompt=self._own.prompt_for(labelled.label),
                painted=[],
            )

    def _paint(
        self,
        warm: Warm,
        targets: Sequence[_Target],
        placed: Sequence[Rendered],
        settings: PaintSettings,
        attempt: int,
    ) -> None:
        """Inpaint one more round of candidates for every target, and choose the best candidate of each."""
        orders: list[Order] = []
        for target in targets:
            mask = enlarged_mask(target.place.room, self._own.resolution)
            sample = placed[target.sample].provenance.index
            for candidate in range(self._own.candidates):
                number = attempt * self._own.candidates + candidate
                seed = sample_seed(f"{self._spec.digest}:{sample}:{target.instance}", number)
                orders.append(Order(image=target.start, mask=mask, prompt=target.prompt, seed=seed))
        # few orders: the places of samples with one setting, or, in the second round, those without a visible candidate
        most = None if attempt == 0 and not self._own.vary else self._own.candidates
        with ThreadPoolExecutor(_MEASURING) as pool:  # measures while the next batch is inpainted
            measurements = [
                pool.submit(_measured, target, painted)
                for target, painted in zip(
                    (target for target in targets for _ in range(self._own.candidates)),
                    warm.painter.paint(orders, most, settings),
                    strict=True,
                )
            ]
        for start, target in zip(range(0, len(measurements), self._own.candidates), targets, strict=True):
            target.painted += [future.result() for future in measurements[start : start + self._own.candidates]]
            target.chosen = best(target.painted, self._where.min_contrast)

    def _finish(
        self, sample: Rendered, photo: Picture, targets: Sequence[_Target], drawn: Draws, warm: Warm
    ) -> Rendered:
        """Return a sample with its chosen candidates; ``drawn`` are its settings that were drawn."""
        image, mask = photo.copy(), np.zeros(photo.shape[:2], np.uint8)
        instances: list[Instance] = []
        traces: list[InstanceTrace] = []
        for target, labelled, placed in zip(targets, sample.instances, sample.provenance.trace.instances, strict=True):
            window = target.place.frame.slices
            self._counts["instances"] += 1
            self._counts["candidates"] += len(target.painted)
            self._counts["unseen"] += sum(not p.is_seen(self._where.min_contrast) for p in target.painted)
            if target.chosen is None:
                self._counts["composite"] += 1
                own = target.place.laid
                pixels = sample.image[window]
                trace = _with_details(placed, {"pixels": "composite"})
            else:
                painted = target.painted[target.chosen]
                own = painted.mask & (mask[window] == 0)
                pixels = from_tones(painted.tones, photo[window])
                trace = _with_details(
                    placed if self._own.refine_composite else _without_pixels(placed),
                    {
                        "pixels": "diffusion",
                        "candidate": target.chosen,
                        "cover": round(painted.cover, 3),
                        "difference": round(painted.difference, 2),
                    },
                )
                seen = round(painted.contrast, 2)
                draws = {**(trace.draws or {}), "measured_contrast": seen, **drawn}
                trace = replace(trace, contrast=seen, draws=draws)
            # pixels are written only here, under the mask
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
            traces.append(trace)
        return Rendered(
            image=image,
            mask=mask,
            instances=tuple(instances),
            provenance=replace_provenance(sample.provenance, self._spec, self._trace(sample, traces, warm)),
        )

    def _trace(self, sample: Rendered, instances: Sequence[InstanceTrace], warm: Warm) -> Trace:
        versions: dict[str, Json] = dict(pipeline_loading.versions())
        optimizations: list[Json] = list(warm.tuning.optimizations)
        return replace(
            sample.provenance.trace,
            instances=tuple(instances),
            files={"weights": self._means.weights_digest, "lora": self._means.lora_digest},
            details={
                "device": warm.device,
                "dtype": warm.dtype,
                "versions": versions,
                # a folder is identified by its digest; its path is specific to this machine
                "weights": self._own.weights if looks_like_hub_id(self._own.weights) else self._means.weights.name,
                "optimizations": optimizations,
                "batch": warm.painter.batch,
            },
        )


def _measured(target: _Target, painted: Floats) -> Painted:
    return measure(target.before, reduced(painted, target.place, target.before.shape[2]), target.place)


def _about_place(instance: InstanceTrace) -> Draws:
    """Return composite's draws of an instance without those that describe composite's pixels."""
    return {name: value for name, value in (instance.draws or {}).items() if name not in ABOUT_PIXELS}


def _with_details(trace: InstanceTrace, details: Mapping[str, Json]) -> InstanceTrace:
    return replace(trace, details={**trace.details, **details})


def _without_pixels(placed: InstanceTrace) -> InstanceTrace:
    """Return composite's trace without the entries that describe composite's pixels, which were replaced."""
    details = {name: value for name, value in placed.details.items() if name != "slope"}
    return replace(placed, blend=None, contrast=None, draws=_about_place(placed) or None, details=details)


def replace_provenance(placed: Provenance, spec: Spec, trace: Trace) -> Provenance:
    """Return composite's provenance with the diffusion engine's name, version, seed and trace."""
    return replace(
        placed,
        spec_digest=spec.digest,
        seed=sample_seed(spec.digest, placed.index),
        engine=NAME,
        engine_version=VERSION,
        trace=trace,
    )
