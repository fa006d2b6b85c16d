"""The class of the ``diffusion`` engine. It has the engine's checks, its fit, its refinement and its suggestions.

The method ``fit`` imports torch; importing this module does not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from datagen.domain.inputs import CanvasImage, ConceptImage, ImageRef
from datagen.domain.source_type import SourceType
from datagen.domain.spec import Json, Spec
from datagen.errors import CannotRender, DeviceFault, EngineError
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.refinement.refine import refine
from datagen.synthesis.composite.suggestions import CompositeSuggester
from datagen.synthesis.diffusion.identity import NAME, VERSION
from datagen.synthesis.diffusion.parameters import KEY, DiffusionParameters, DiffusionSpecParameters
from datagen.synthesis.diffusion.runtime import watchdog
from datagen.synthesis.diffusion.runtime.devices import PATIENT_SECONDS, cuda_devices, find_device
from datagen.synthesis.diffusion.settings_draws import LEARNABLE
from datagen.synthesis.diffusion.weights.preflight import PACKAGES, check
from datagen.synthesis.engine import Engine, FittedEngine, Pictures, Progress, Refinement, ReviewedSample, Suggester
from datagen.synthesis.parameter_models import EngineParameters


class DiffusionEngine(Engine):
    """Fine-tunes an inpainting model on the concept, and inpaints it at the places that composite chooses.

    The folder of the settings stores fits, digests of weights and measurements between processes. If workers share the
    folder, each fit runs once.
    """

    name = NAME
    version = VERSION
    device = "gpu"
    source_type = SourceType.COMPOSITE_WITH_TRAINED_MEDIA
    parameters_model: ClassVar[type[EngineParameters]] = DiffusionSpecParameters
    learnable = LEARNABLE
    shows_mattes: ClassVar[bool] = True
    shows_areas: ClassVar[bool] = True

    def check(self, parameters: Mapping[str, Json]) -> tuple[str, ...]:
        """Return the problems that prevent rendering on this machine; empty if there are none."""
        return check(parameters, self.settings.folder)

    def refine(self, parameters: Mapping[str, Json], reviewed: Sequence[ReviewedSample]) -> Refinement:
        """Choose other mattes, as composite does; the engine's own parameters stay as they are.

        Corrected outlines are not used, because the label of an instance is measured from what the model paints, and
        not cut out of the concept's photo.
        """
        _, where = DiffusionParameters.from_spec(parameters)
        refined = refine(where, [replace(sample, corrected=()) for sample in reviewed])
        kept = {name: value for name, value in parameters.items() if name == KEY}
        return Refinement(parameters={**refined.parameters, **kept}, notes=refined.notes)

    def suggester(
        self,
        parameters: Mapping[str, Json],
        concepts: Sequence[ConceptImage],
        canvases: Sequence[CanvasImage],
        backgrounds: Sequence[ImageRef],
        pictures: Pictures,
    ) -> Suggester:
        """Return composite's suggester, because composite cuts out the concepts and chooses the places."""
        _, where = DiffusionParameters.from_spec(parameters)
        return CompositeSuggester(CompositeParameters.from_json(where), concepts, canvases, backgrounds, pictures)

    def gpus(self) -> tuple[str, ...]:
        """Return the identifiers of this machine's NVIDIA GPUs for CUDA_VISIBLE_DEVICES.

        Each GPU has its own worker.
        """
        return tuple(device.id for device in cuda_devices(PATIENT_SECONDS))

    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        """Fit the model to the spec's concepts, or load an existing fit; return the fitted engine.

        Raises:
            CannotRender: a parameter is wrong, or a requirement is missing.
            EngineError: the inputs are unusable.
            DeviceFault: the device failed.
        """
        own, _ = DiffusionParameters.from_spec(spec.parameters)
        if problems := self.check(spec.parameters):
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            if visible and own.device != "cpu" and find_device(own.device) is None:
                # the GPU of another worker may work: the spec is not at fault
                raise DeviceFault(
                    f"the GPU {visible} that this worker was given is gone, or its driver does not answer"
                )
            raise CannotRender(" ".join(problems))
        # on a CPU a step may take longer than a driver that does not hang
        watchdog.set_limit(0.0 if own.device == "cpu" else self.settings.hang_seconds)
        try:
            from datagen.synthesis.diffusion.training.fit import fit
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in PACKAGES:
                raise
            raise EngineError(
                f"{error.name} is not installed here ({', '.join(PACKAGES)} are needed); run: "
                "pip install 'label-studio-datagen[diffusion]'"
            ) from error
        return fit(spec, pictures, progress, self.settings.folder)
