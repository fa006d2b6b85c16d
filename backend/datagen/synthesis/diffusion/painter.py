"""Painting crops in batches of one size, each from its own seed; out of memory halves the batch. Imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from datagen.errors import DeviceFault, EngineError
from datagen.synthesis.diffusion.faults import free_memory, is_device_fault, is_out_of_memory
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.pipelines import Pipeline
from datagen.synthesis.diffusion.watchdog import watched
from datagen.synthesis.tones import Floats

#: The weight of the prompt for UNets: enough for a word that was taught; more makes colours garish.
_GUIDANCE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to paint: crop [r, r, 3] and mask [r, r], both 0 to 1; the sentence; the seed of its noise."""

    image: Floats
    mask: Floats
    prompt: str
    seed: int


class Painter:
    """A pipeline and the batch it paints at once."""

    def __init__(self, pipeline: Pipeline, parameters: DiffusionParameters, batch: int) -> None:
        self.pipeline = pipeline
        self.batch = batch
        self._parameters = parameters
        # pipelines differ in what they take: a distilled model has no negative prompt
        self._takes = inspect.signature(pipeline.__call__).parameters

    def paint(self, orders: Sequence[Order]) -> list[Floats]:
        """The painted crops [r, r, 3], 0 to 1, in order; each depends on its order alone.

        The last batch is filled up: a device computes the same for a row whatever the others hold, but not always for
        another number of rows.

        Raises:
            EngineError: not even one crop fits into the device's memory.
            DeviceFault: the device failed; the process should end.
        """
        made: list[Floats] = []
        while len(made) < len(orders):
            rows = list(orders[len(made) : len(made) + self.batch])
            full = rows + [rows[-1]] * (self.batch - len(rows))
            try:
                with watched():
                    painted = self._call(full)
            except RuntimeError as fault:
                if is_device_fault(fault):
                    raise DeviceFault(f"the device failed while painting: {fault}") from fault
                if not is_out_of_memory(fault):
                    raise
                # the traceback holds every tensor of the failed call: drop it before trying again
                fault.__traceback__ = None
                self._halve()
                continue
            made += list(painted[: len(rows)])
        return made

    def _call(self, rows: Sequence[Order]) -> Floats:
        p = self._parameters
        # drawn on the CPU: the same numbers on every device, whatever else is in the batch
        generators = [torch.Generator("cpu").manual_seed(row.seed % 2**63) for row in rows]
        options: dict[str, Any] = {
            "prompt": [row.prompt for row in rows],
            "negative_prompt": [p.negative_prompt] * len(rows) if p.negative_prompt else None,
            "image": _as_tensor(np.stack([row.image for row in rows])),
            "mask_image": _as_tensor(np.stack([row.mask for row in rows])[..., None]),
            "height": p.resolution,
            "width": p.resolution,
            "num_inference_steps": p.steps,
            "strength": self._strength(),
            "generator": generators,
            "output_type": "np",
        }
        if p.guidance is not None or not hasattr(self.pipeline, "transformer"):
            options["guidance_scale"] = _GUIDANCE if p.guidance is None else p.guidance
        with torch.inference_mode():
            images = self.pipeline(**{k: v for k, v in options.items() if k in self._takes}).images
        if not np.isfinite(images).all():
            raise EngineError(
                "the model painted numbers that are none (NaN): its autoencoder overflows in float16; set "
                "“diffusion.dtype” to “bfloat16” or “float32”"
            )
        return np.asarray(images, np.float32)

    def _strength(self) -> float:
        """The share of noise; SDXL is less sharp from noise alone, so its pipeline's own default is just below that."""
        p = self._parameters
        own = getattr(self._takes.get("strength"), "default", None)
        just_below = isinstance(own, float) and 0.99 < own < 1 and int(p.steps * own) >= 1
        return min(p.noise, float(own)) if just_below and own is not None else p.noise

    def _halve(self) -> None:
        if self.batch == 1:
            raise EngineError(
                f"one crop of {self._parameters.resolution} pixels does not fit into the device's memory; lower "
                "“diffusion.resolution”, choose smaller weights, or end what else uses the device"
            )
        self.batch //= 2
        free_memory()


def _as_tensor(rows: Floats) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows.transpose(0, 3, 1, 2), np.float32))
