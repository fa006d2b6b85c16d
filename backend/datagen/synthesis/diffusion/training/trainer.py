"""Fits a LoRA on the concepts with DefectFill's loss; a fit can be resumed after every step. Imports torch.

The loss is 0.5 · defect + 0.2 · object + 0.05 · attention (see ``losses``). Each step draws its lessons, noise and
timesteps with a seed of its own, so that a resumed fit continues as if it had not been interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError

from datagen.errors import DeviceFault, EngineError
from datagen.synthesis.diffusion.models.denoisers import denoiser_of
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.artifact_cache import kept_in
from datagen.synthesis.diffusion.runtime.device_errors import (
    device_faults,
    free_memory,
    is_device_fault,
    is_out_of_memory,
)
from datagen.synthesis.diffusion.runtime.watchdog import watched
from datagen.synthesis.diffusion.training.dataset import Lesson
from datagen.synthesis.diffusion.training.encoding import encode
from datagen.synthesis.diffusion.training.loss_plot import draw_curve
from datagen.synthesis.diffusion.training.losses import Losses
from datagen.synthesis.diffusion.weights.pipeline_loading import LORA_FILE, Pipeline
from datagen.synthesis.engine import Progress

#: Weights of the defect, object and attention loss (DefectFill, section 4).
DEFECT, OBJECT, ATTENTION = 0.5, 0.2, 0.05
#: The parts of a pipeline that are not needed after the lessons are encoded.
_ENCODERS = ("vae", "text_encoder", "text_encoder_2")
#: Seconds between checkpoints; one is also written when the fit is stopped.
CHECKPOINT_SECONDS = 20.0
_CHECKPOINT, LOSSES, CURVE = "checkpoint.pt", "losses.json", "loss.png"
#: Number of lessons in the evaluations before and after the fit.
_EVALUATED = 8


class Trainer:
    """One fit of a LoRA: a pipeline, the lessons, and the folder with the checkpoint and the results."""

    def __init__(
        self, pipeline: Pipeline, lessons: Iterable[Lesson], parameters: DiffusionParameters, folder: Path, seed: int
    ) -> None:
        self._pipeline = pipeline
        self._parameters = parameters
        self._folder = folder
        self._seed = seed
        self._device: torch.device = pipeline.device
        self._denoiser = denoiser_of(pipeline, parameters.resolution)
        self._model: Any = self._denoiser.module
        #: number of lessons in a forward pass; halved when memory runs out, with the gradients of the passes added
        self._rows = parameters.fit_batch
        #: whether the backward pass recomputes activations (gradient checkpointing), which saves memory and takes a
        #: third longer
        self._gradient_checkpointing = False
        self.losses: list[float] = []
        #: the mean defect loss before the first step, and after the last one (see ``judge``)
        self.before: float | None = None
        self.after: float | None = None
        #: whether a damaged checkpoint was discarded, so that the fit starts again
        self._checkpoint_discarded = False
        self._model.requires_grad_(False)
        for part in _ENCODERS:
            if getattr(pipeline, part, None) is not None:
                getattr(pipeline, part).requires_grad_(False)
        with device_faults(
            "encoding the lessons",
            f"the weights and one crop of {parameters.resolution} pixels do not fit into the device's memory; lower "
            "“diffusion.resolution”, choose smaller weights, or end what else uses the device",
        ):
            self._encoded = encode(pipeline, lessons, seed, self._denoiser.see)
            self._losses = Losses(pipeline, self._denoiser, self._encoded, parameters)
            for part in _ENCODERS:  # their memory is needed for the backward pass
                if getattr(pipeline, part, None) is not None:
                    getattr(pipeline, part).to("cpu")
            free_memory()
            self._add_lora()
            self._optimizer = torch.optim.AdamW(self._trained(), lr=parameters.learning_rate, weight_decay=1e-2)
            # gradients below 6e-8 vanish in float16, so the loss is scaled (Micikevicius et al. 2018)
            self._scaler = torch.amp.GradScaler(self._device.type, enabled=self._model.dtype == torch.float16)
            self._resume()

    def run(self, progress: Progress) -> Path:
        """Run the remaining steps; return the LoRA's file.

        ``progress`` is called after every step. It may raise an exception to stop the fit. The checkpoint is then
        written, and the next run resumes from it.

        Raises:
            EngineError: the fit does not fit into memory, or its loss is not finite.
            DeviceFault: the device failed.
        """
        steps = self._parameters.fit_steps
        began, first_step = time.monotonic(), len(self.losses)
        written, steps_written = began, first_step
        if self._checkpoint_discarded:
            progress(0.0, f"the checkpoint kept in {self._folder} was damaged: the fit begins anew")
        try:
            if self.before is None:
                self.before = self.judge()
            for step in range(first_step, steps):
                self.losses.append(self._step(step))
                done = step + 1
                moment = time.monotonic()
                seconds_left = (moment - began) / (done - first_step) * (steps - done)
                recent = float(np.mean(self.losses[-20:]))
                if moment - written > CHECKPOINT_SECONDS:
                    self._keep()
                    written, steps_written = moment, done
                progress(done / steps, f"step {done} of {steps}, loss {recent:.4f}, about {_span(seconds_left)} left")
        except DeviceFault:
            raise  # tensors on a failed device cannot be read, and the attempt would hide the error
        except BaseException:
            if len(self.losses) > steps_written:
                self._keep()
            raise
        self.after = self.judge()
        return self._finish()

    @property
    def lessons(self) -> int:
        """The number of lessons."""
        return len(self._encoded.labels)

    def judge(self) -> float:
        """Return the mean defect loss over some lessons at fixed noise and timesteps; the fit should reduce it.

        The losses of the steps cannot be compared, because each depends mainly on its own random timesteps.

        Raises:
            EngineError: not even one lesson fits into memory.
            DeviceFault: the device failed.
        """
        total, count = 0.0, min(self.lessons, _EVALUATED)
        doing, too_large = "judging the fit", f"one lesson of {self._parameters.resolution} pixels does not fit"
        with torch.no_grad(), device_faults(doing, f"{too_large}; lower “diffusion.resolution”"):
            for row in range(count):
                with watched(), self._losses([row], torch.Generator("cpu").manual_seed(row)) as (defect, _, _):
                    total += float(defect)
        return total / count

    def _step(self, step: int) -> float:
        generator = torch.Generator("cpu").manual_seed((self._seed + step) % 2**63)
        chosen = torch.randint(self.lessons, (self._parameters.fit_batch,), generator=generator).tolist()
        while True:
            try:
                with watched():
                    return self._train_step(chosen, step)
            except RuntimeError as fault:
                if is_device_fault(fault):
                    raise DeviceFault(f"the device failed while fitting: {fault}") from fault
                if not is_out_of_memory(fault):
                    raise
                fault.__traceback__ = None
                self._optimizer.zero_grad(set_to_none=True)
                if self._rows > 1:
                    self._rows //= 2
                elif not self._gradient_checkpointing:
                    self._gradient_checkpointing = True
                    self._model.enable_gradient_checkpointing()
                else:
                    raise EngineError(
                        f"not even one lesson of {self._parameters.resolution} pixels fits into the device's memory; "
                        "lower “diffusion.resolution” or “diffusion.lora_rank”, or end what else uses the device"
                    ) from None
                free_memory()

    def _train_step(self, chosen: Sequence[int], step: int) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(chosen), self._rows):
            rows = chosen[start : start + self._rows]
            # each group of rows has its own seed, so that halving does not change the noise of other groups
            generator = torch.Generator("cpu").manual_seed((self._seed * 31 + step * 1009 + start) % 2**63)
            with self._losses(rows, generator) as (defect, surface, attention):
                loss = (DEFECT * defect + OBJECT * surface + ATTENTION * attention) * (len(rows) / len(chosen))
                if not torch.isfinite(loss):
                    raise EngineError(
                        f"the loss is no number at step {step + 1}; lower “diffusion.learning_rate”, or set "
                        "“diffusion.dtype” to “bfloat16” or “float32”"
                    )
                self._scaler.scale(loss).backward()
            total += float(loss.detach())
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._trained(), 1.0)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return total

    def _add_lora(self) -> None:
        config = LoraConfig(
            r=self._parameters.lora_rank,
            lora_alpha=self._parameters.lora_rank,
            init_lora_weights="gaussian",
            target_modules=list(self._denoiser.layers),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed % 2**63)
            self._model.add_adapter(config)
        cast_training_params(self._model, dtype=torch.float32)
        self._model.train()

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self._model.parameters() if p.requires_grad]

    def _keep(self) -> None:
        """Write the checkpoint and the loss curve.

        The checkpoint is written under another name and then renamed, so that it is never incomplete.
        """
        draft = self._folder / f".{_CHECKPOINT}"
        with kept_in(self._folder):
            with (
                draft.open("wb") as file,  # the errors of torch's own writer name neither the file nor the cause
                watched(),
                device_faults("keeping the fit", "the device has no memory left to read the LoRA from"),
            ):
                torch.save(
                    {
                        "lora": get_peft_model_state_dict(self._model),
                        "optimizer": self._optimizer.state_dict(),
                        "scaler": self._scaler.state_dict(),
                        "losses": self.losses,
                        "before": self.before,
                    },
                    file,
                )
            draft.replace(self._folder / _CHECKPOINT)
            self._draw()

    def _resume(self) -> None:
        path = self._folder / _CHECKPOINT
        if not path.exists():
            return
        with kept_in(self._folder):
            content = BytesIO(path.read_bytes())
        try:
            checkpoint = torch.load(content, map_location="cpu", weights_only=True)
            lora, optimizer, losses = checkpoint["lora"], checkpoint["optimizer"], list(checkpoint["losses"])
            scaler, before = checkpoint["scaler"], float(checkpoint["before"])
        except Exception as fault:  # a truncated file raises different errors depending on its length
            if isinstance(fault, MemoryError) or is_out_of_memory(fault):
                raise
            self._checkpoint_discarded = True  # reported by ``run``
            with kept_in(self._folder):
                path.unlink()
            return
        set_peft_model_state_dict(self._model, lora)
        self._optimizer.load_state_dict(optimizer)
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(scaler)
        self.losses, self.before = losses, before

    def _finish(self) -> Path:
        layers = self._denoiser.layers_to_save(get_peft_model_state_dict(self._model))
        draft, final = f".{LORA_FILE}", self._folder / LORA_FILE
        with kept_in(self._folder):
            self._draw()
            try:
                type(self._pipeline).save_lora_weights(str(self._folder), **layers, weight_name=draft)
            except SafetensorError as fault:  # raised by safetensors if the disk is full
                raise OSError(str(fault)) from fault
            (self._folder / LOSSES).write_text(json.dumps(self.losses))
            (self._folder / draft).replace(final)
            (self._folder / _CHECKPOINT).unlink(missing_ok=True)
        return final

    def _draw(self) -> None:
        if self.losses:
            encoded, picture = cv2.imencode(".png", draw_curve(self.losses, self._parameters.fit_steps))
            assert encoded
            (self._folder / CURVE).write_bytes(picture.tobytes())


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
