"""Inpaints crops in batches of constant size, each crop with its own seed. Imports torch.

If the device's memory runs out, the batch size is halved."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from datagen.errors import DeviceFault, EngineError
from datagen.synthesis.diffusion.models.latents import to_latents
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.device_errors import free_memory, is_device_fault, is_out_of_memory
from datagen.synthesis.diffusion.runtime.watchdog import watched
from datagen.synthesis.diffusion.settings_draws import PaintSettings
from datagen.synthesis.diffusion.weights.pipeline_loading import Pipeline
from datagen.synthesis.intensity import Floats

#: Weight of the prompt (guidance) for UNets. It is enough for a trained token; higher values oversaturate colours.
_GUIDANCE = 4.0
#: Minimum number of steps for a strength just below 1. With fewer steps, such a strength skips a whole step, so that
#: the background remains visible.
_MANY_STEPS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to inpaint one crop [r, r, 3] under a mask [r, r], both 0 to 1.

    ``prompt`` is the prompt, and ``seed`` is the seed of the noise.
    """

    image: Floats
    mask: Floats
    prompt: str
    seed: int


class Inpainter:
    """Inpaints with one pipeline, in batches of one size."""

    def __init__(self, pipeline: Pipeline, parameters: DiffusionParameters, batch: int) -> None:
        self.pipeline = pipeline
        self.batch = batch
        self._parameters = parameters
        # pipelines have different parameters: a distilled model takes no negative prompt
        self._takes = inspect.signature(pipeline.__call__).parameters
        is_unet = not hasattr(pipeline, "transformer")
        guidance = _GUIDANCE if parameters.guidance is None and is_unet else parameters.guidance
        #: the settings of the parameters
        self.usual = PaintSettings(strength=parameters.noise, guidance=guidance, steps=parameters.steps)

    @property
    def drawable(self) -> frozenset[str]:
        """The names of the settings that may be drawn anew for each sample with this pipeline.

        Distilled weights are made for one number of steps and no guidance, and a guidance up to 1 has no effect. A
        model that is not a UNet has been trained with its own guidance.
        """
        names = {"strength"} if "strength" in self._takes else set()
        if self._parameters.scheduler not in ("lcm", "tcd"):
            names.add("steps")
            if not hasattr(self.pipeline, "transformer") and (self.usual.guidance or 0) > 1:
                names.add("guidance")
        return frozenset(names)

    def paint(
        self, orders: Sequence[Order], most: int | None = None, settings: PaintSettings | None = None
    ) -> Iterator[Floats]:
        """Yield the painted crop [r, r, 3], 0 to 1, for each order, in their sequence.

        A crop depends only on its order and on the batch size. The last batch is padded to this size, because on a
        device the result of a row may depend on the number of rows, though not on the content of the others. ``most``
        limits the batch size, and thereby the padding, if there are few orders. ``settings`` replace those of the
        parameters.

        Raises:
            EngineError: not even one crop fits into the device's memory.
            DeviceFault: the device failed; the process should end.
        """
        done = 0
        while done < len(orders):
            size = min(self.batch, most or self.batch)
            rows = list(orders[done : done + size])
            full = rows + [rows[-1]] * (size - len(rows))
            try:
                with watched():
                    painted = self._call(full, settings or self.usual)
            except RuntimeError as fault:
                if is_device_fault(fault):
                    raise DeviceFault(f"the device failed while painting: {fault}") from fault
                if not is_out_of_memory(fault):
                    raise
                # the traceback references every tensor of the failed call: drop it before the next attempt
                fault.__traceback__ = None
                self._halve(size)
                continue
            done += len(rows)
            yield from painted[: len(rows)]

    def _call(self, rows: Sequence[Order], settings: PaintSettings) -> Floats:
        p = self._parameters
        # candidates for one place share a crop: it is copied to the device once, and processed there
        images, masks = _distinct([row.image for row in rows]), _distinct([row.mask for row in rows])
        image, mask = images.on(self.pipeline.device), masks.on(self.pipeline.device)
        # drawn on the CPU: the same noise on every device and in every batch
        generators = [torch.Generator("cpu").manual_seed(row.seed % 2**63) for row in rows]
        options: dict[str, Any] = {
            "prompt": [row.prompt for row in rows],
            "negative_prompt": [p.negative_prompt] * len(rows) if p.negative_prompt else None,
            "image": image[images.which],
            "mask_image": mask[masks.which],
            "height": p.resolution,
            "width": p.resolution,
            "num_inference_steps": settings.steps,
            "strength": self._strength(settings),
            "generator": generators,
            "output_type": "pt",
        }
        if settings.guidance is not None:
            options["guidance_scale"] = settings.guidance
        with torch.inference_mode():
            if "masked_image_latents" in self._takes and hasattr(self.pipeline, "unet"):
                options["masked_image_latents"] = self._masked(image, mask, images.which, masks.which)
            painted = self.pipeline(**{k: v for k, v in options.items() if k in self._takes}).images
            finite = bool(torch.isfinite(painted).all())
        if not finite:
            raise EngineError(
                "the model painted numbers that are none (NaN): its autoencoder overflows in float16; set "
                "“diffusion.dtype” to “bfloat16” or “float32”"
            )
        return np.asarray(painted.permute(0, 2, 3, 1).float().contiguous().cpu().numpy(), np.float32)

    def _masked(
        self, images: torch.Tensor, masks: torch.Tensor, which_image: Sequence[int], which_mask: Sequence[int]
    ) -> torch.Tensor:
        """Return the latents [rows, c, h, w] of the crops without their masked pixels.

        ``which_image`` and ``which_mask`` hold, for each row, the index of its crop and of its mask. A pair of crop and
        mask that occurs in several rows is encoded once. A pipeline itself would encode every row, and sample each with
        other noise.
        """
        pairs = list(zip(which_image, which_mask, strict=True))
        latents = {
            pair: to_latents(self.pipeline, (images[pair[0]] * 2 - 1)[None] * (masks[pair[1]] < 0.5))
            for pair in dict.fromkeys(pairs)
        }
        return torch.cat([latents[pair] for pair in pairs])

    def _strength(self, settings: PaintSettings) -> float:
        """Return the share of noise that inpainting starts from.

        With enough steps, the default of SDXL's pipeline, just below 1, is the maximum, because pure noise makes its
        results less sharp.
        """
        default = getattr(self._takes.get("strength"), "default", None)
        just_below = isinstance(default, float) and 0.99 < default < 1 and settings.steps >= _MANY_STEPS
        return min(settings.strength, float(default)) if just_below and default is not None else settings.strength

    def _halve(self, size: int) -> None:
        if size == 1:
            raise EngineError(
                f"one crop of {self._parameters.resolution} pixels does not fit into the device's memory; lower "
                "“diffusion.resolution”, choose smaller weights, or end what else uses the device"
            )
        self.batch = size // 2
        free_memory()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Distinct:
    """The distinct ones of given arrays, and for each given array the index of its equal in ``arrays``."""

    arrays: list[Floats]
    which: list[int]

    def on(self, device: torch.device) -> torch.Tensor:
        """Return the arrays as one tensor [n, channels, h, w] on a device."""
        rows = torch.from_numpy(np.stack(self.arrays)).to(device)
        return (rows[..., None] if rows.ndim == 3 else rows).permute(0, 3, 1, 2).contiguous()


def _distinct(given: Sequence[Floats]) -> _Distinct:
    arrays = list({id(array): array for array in given}.values())
    index = {id(array): number for number, array in enumerate(arrays)}
    return _Distinct(arrays=arrays, which=[index[id(array)] for array in given])
