"""The engine's class: asks, fits and renders. torch is imported when it fits, not when it is found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from datagen.domain.spec import Json, Spec
from datagen.errors import DeviceFault, EngineError
from datagen.synthesis.composite.parameters import NAMES as COMPOSITE_NAMES
from datagen.synthesis.diffusion.identity import NAME, VERSION
from datagen.synthesis.diffusion.parameters import KEY, NAMES, DiffusionParameters
from datagen.synthesis.diffusion.runtime.devices import PATIENT_SECONDS, cuda_devices, find_device
from datagen.synthesis.diffusion.weights.preflight import PACKAGES, check
from datagen.synthesis.engine import Engine, FittedEngine, Pictures, Progress
from datagen.synthesis.parameter_routing import remedy


class DiffusionEngine(Engine):
    """Teaches an inpainting model the concept, then has it paint where composite would lay it.

    Args:
        folder: where fits, digests of weights and measurements are kept between processes; by default the folder
            ``diffusion`` in DATAGEN_DATA_DIR. Workers that share it fit once.
    """

    name = NAME
    version = VERSION
    device = "gpu"
    #: its own under one key, beside composite's
    parameter_keys: ClassVar[Mapping[str, str]] = {**dict.fromkeys(COMPOSITE_NAMES, ""), **dict.fromkeys(NAMES, KEY)}

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(os.environ.get("DATAGEN_DATA_DIR", ".datagen")) / "diffusion"

    def check(self, parameters: Mapping[str, Json]) -> tuple[str, ...]:
        """What stands in the way of rendering on this machine; empty when nothing does."""
        return check(parameters, self._folder)

    def ignores(self, parameters: Mapping[str, Json]) -> frozenset[str]:
        """Of composite's parameters, those about pixels: it paints, unless it starts from a composite."""
        own, _ = DiffusionParameters.from_spec(parameters)
        return frozenset() if own.refine_composite else frozenset({"contrast", "edge_softness"})

    def gpus(self) -> tuple[str, ...]:
        """The NVIDIA GPUs of this machine, as CUDA_VISIBLE_DEVICES names them: each has a worker of its own."""
        return tuple(device.id for device in cuda_devices(PATIENT_SECONDS))

    def fit(self, spec: Spec, pictures: Pictures, progress: Progress) -> FittedEngine:
        """Teach the model, or find that it was taught.

        Raises:
            EngineError: the parameters are wrong, the machine lacks something, or the inputs cannot be learned from.
            DeviceFault: the device failed.
        """
        own, _ = DiffusionParameters.from_spec(spec.parameters)
        if problems := self.check(spec.parameters):
            given = os.environ.get("CUDA_VISIBLE_DEVICES")
            if given and own.device != "cpu" and find_device(own.device) is None:
                # another worker's may be well: this is no fault of the spec
                raise DeviceFault(f"the GPU {given} that this worker was given is gone, or its driver does not answer")
            raise EngineError(" ".join([*problems, *remedy(NAME)]))
        try:
            from datagen.synthesis.diffusion.training.fit import fit
        except ModuleNotFoundError as fault:
            if (fault.name or "").split(".")[0] not in PACKAGES:
                raise
            raise EngineError(
                f"{fault.name} is not installed here ({', '.join(PACKAGES)} are needed); run: "
                "pip install 'label-studio-datagen[diffusion]'"
            ) from fault
        return fit(spec, pictures, progress, self._folder)
