"""An engine that draws one dark stripe on each background. It serves as an example of an engine in another package."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import Instance, Provenance
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.trace import InstanceTrace, Trace
from datagen.domain.verdict import Reason
from datagen.synthesis.engine import (
    Engine,
    FitReport,
    FittedEngine,
    Pictures,
    Progress,
    Refinement,
    Rendered,
    ReviewedSample,
)
from datagen.synthesis.parameter_models import EngineParameters, Whole

NAME, VERSION = "stripes", "0.3"


class StripeParameters(EngineParameters):
    """The engine's parameters. All are at the top level of a spec."""

    engine: ClassVar[str] = NAME

    thickness: Whole = Field(4, ge=1, le=40, description="thickness of the stripe, pixels")
    tone: Whole = Field(20, ge=0, le=255, description="tone of the stripe")


class StripeEngine(Engine):
    """Draws stripes. It runs only on workers with a GPU, although it does not need one."""

    name, version, device = NAME, VERSION, "gpu"
    parameters_model: ClassVar[type[EngineParameters]] = StripeParameters

    def gpus(self) -> tuple[str, ...]:
        """Return the id of one GPU, which the engine claims to need."""
        return ("GPU-of-stripes",)

    def refine(self, parameters: Mapping[str, Json], reviewed: Sequence[ReviewedSample]) -> Refinement:
        """Make the stripes thicker by one pixel for each verdict that they are too small."""
        before = StripeParameters.from_json(parameters)
        more = sum(Reason.TOO_SMALL in sample.verdict.reasons for sample in reviewed)
        seen = sum(len(sample.trace.instances) for sample in reviewed)
        after = before.model_copy(update={"thickness": before.thickness + more})
        note = f"Stripes are {after.thickness} pixels thick, because {more} of {seen} are called too small."
        return Refinement(parameters=after.to_json(), notes=(note,))

    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        """Write a note of the device to the engine's folder, and return the fitted engine; there is nothing to fit."""
        self.settings.folder.mkdir(parents=True, exist_ok=True)
        (self.settings.folder / "fitted").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        progress(1.0, "ruling the stripes")
        return FittedStripes(spec, pictures)


class FittedStripes(FittedEngine):
    """The engine for one spec."""

    def __init__(self, spec: Spec, pictures: Pictures) -> None:
        self._spec, self._pictures = spec, pictures
        self._parameters = StripeParameters.from_json(spec.parameters)

    @property
    def report(self) -> FitReport:
        """A report with one finding."""
        return FitReport(findings=(f"Stripes of {self._parameters.thickness} pixels are drawn.",))

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        """Draw a stripe over the whole width of each background; the sample's seed determines its height."""
        for index in indices:
            seed = sample_seed(self._spec.digest, index)
            background = self._spec.backgrounds[index % len(self._spec.backgrounds)]
            image = self._pictures.load(background).copy()
            height, width = image.shape[:2]
            thickness = self._parameters.thickness
            top = int(np.random.default_rng(seed).integers(0, height - thickness))
            image[top : top + thickness] = self._parameters.tone
            mask = np.zeros((height, width), np.uint8)
            mask[top : top + thickness] = 1
            corners = ((0, top), (width, top), (width, top + thickness), (0, top + thickness))
            label = self._spec.labels[0]
            yield Rendered(
                image=image,
                mask=mask,
                instances=(Instance(label=label, box=Box(0, top, width, thickness), outlines=(Polygon(corners),)),),
                provenance=Provenance(
                    spec_digest=self._spec.digest,
                    index=index,
                    seed=seed,
                    engine=NAME,
                    engine_version=VERSION,
                    background=background,
                    trace=Trace(instances=(InstanceTrace(label=label, details={"top": top}),)),
                ),
            )
