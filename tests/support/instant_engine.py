"""An engine that renders at once: a square in the middle of the background, with the parameters of ``composite``.

It is for tests of the code around an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ConceptImage, ImageRef
from datagen.domain.sample import Instance, Provenance
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.trace import InstanceTrace, Trace
from datagen.synthesis.composite.draws import LEARNABLE
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.refinement.refine import refine
from datagen.synthesis.engine import (
    ConceptMatte,
    Engine,
    FitReport,
    FittedEngine,
    LearnedArea,
    Pictures,
    Progress,
    Refinement,
    Rendered,
    ReviewedSample,
)
from datagen.synthesis.parameter_models import EngineParameters

NAME = "instant"
#: Side of the square in pixels.
SIDE = 8


class InstantEngine(Engine):
    """Engine that needs no fit."""

    name, version = NAME, "1"
    parameters_model: ClassVar[type[EngineParameters]] = CompositeParameters
    learnable = LEARNABLE
    uses_corrections: ClassVar[bool] = True
    shows_mattes: ClassVar[bool] = True
    shows_areas: ClassVar[bool] = True

    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        return _Fitted(spec, pictures)

    def refine(self, parameters: Mapping[str, Json], reviewed: Sequence[ReviewedSample]) -> Refinement:
        return refine(parameters, reviewed)


def _square(left: int, top: int) -> Polygon:
    return Polygon(((left, top), (left + SIDE, top), (left + SIDE, top + SIDE), (left, top + SIDE)))


class _Fitted(FittedEngine):
    def __init__(self, spec: Spec, pictures: Pictures) -> None:
        self._spec, self._pictures = spec, pictures

    @property
    def report(self) -> FitReport:
        return FitReport(findings=("a square is painted in the middle",))

    def mattes(self, concept: ConceptImage) -> tuple[ConceptMatte, ...]:
        return tuple(
            ConceptMatte(
                label=region.label,
                mask=np.ones((SIDE, SIDE), bool),
                left=int(region.box.x),
                top=int(region.box.y),
            )
            for region in concept.regions
        )

    def areas(self, photo: ImageRef) -> tuple[LearnedArea, ...]:
        likelihood = np.zeros((6, 8), np.uint8)
        likelihood[2:4, 3:5] = 255
        return (LearnedArea(labels=self._spec.labels, likelihood=likelihood, inside=likelihood > 0),)

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        for index in indices:
            background = self._spec.backgrounds[index % len(self._spec.backgrounds)]
            image = self._pictures.load(background).copy()
            mask = np.zeros(image.shape[:2], np.uint8)
            top, left = (image.shape[0] - SIDE) // 2, (image.shape[1] - SIDE) // 2
            mask[top : top + SIDE, left : left + SIDE] = 1
            image[mask > 0] = sample_seed(self._spec.digest, index) % 100  # darker than the plates of the tests
            yield Rendered(
                image=image,
                mask=mask,
                instances=(
                    Instance(
                        label=self._spec.labels[0],
                        box=Box(left, top, SIDE, SIDE),
                        outlines=(_square(left, top),),
                    ),
                ),
                provenance=Provenance(
                    spec_digest=self._spec.digest,
                    index=index,
                    seed=sample_seed(self._spec.digest, index),
                    engine=NAME,
                    engine_version="1",
                    background=background,
                    trace=Trace(instances=(InstanceTrace(draws={"size": 1.0 + index % 5 / 10}),)),
                ),
            )


#: Entry points of the engines in a studio without servers, in the form in which ``datagen.synthesis.engine`` finds
#: them.
ENTRY_POINTS = {
    name: EntryPoint(name=name, value=value, group="datagen.engines")
    for name, value in {
        NAME: f"{__name__}:InstantEngine",
        "composite": "datagen.synthesis.composite.engine:CompositeEngine",
        "diffusion": "datagen.synthesis.diffusion.engine:DiffusionEngine",
    }.items()
}
