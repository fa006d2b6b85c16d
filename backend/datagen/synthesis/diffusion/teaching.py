"""Fitting a LoRA on the concepts: DefectFill's loss, one step at a time, resumable at every one. Imports torch.

Loss = 0.5 · defect + 0.2 · object + 0.05 · attention. Step s draws its lessons, noise and times from seeds of its own,
so that a fit that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as functional
from diffusers import DDPMScheduler
from diffusers.training_utils import cast_training_params
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict

from datagen.errors import DeviceFault, EngineError
from datagen.synthesis.diffusion.attention import listening, token_positions
from datagen.synthesis.diffusion.curve import draw_curve
from datagen.synthesis.diffusion.lessons import Lesson
from datagen.synthesis.diffusion.painter import free_memory, is_device_fault
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.pipelines import LORA_FILE, OutOfMemory, Pipeline
from datagen.synthesis.diffusion.watchdog import watched
from datagen.synthesis.engine import Progress

#: Weights of the loss's parts, and of what lies outside the boxes in the object's part (DefectFill, section 4).
DEFECT, OBJECT, ATTENTION, BACKGROUND = 0.5, 0.2, 0.05, 0.1
#: The layers that a LoRA is put on: all attention, self and cross.
_LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
#: A checkpoint is written so often, seconds; at the end and when stopped too.
CHECKPOINT_SECONDS = 20.0
_CHECKPOINT, LOSSES, CURVE = "checkpoint.pt", "losses.json", "loss.png"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoded:
    """All lessons as the UNet sees them: latents [n, c, h, w], masks [n, 1, h, w], embeddings by label."""

    latents: torch.Tensor
    concept: torch.Tensor
    concept_masked: torch.Tensor
    boxes: torch.Tensor
    boxes_masked: torch.Tensor
    labels: list[str]


class Teacher:
    """One fit: a pipeline, the lessons, and the folder that holds what is done so far."""

    def __init__(
        self, pipeline: Pipeline, lessons: Sequence[Lesson], parameters: DiffusionParameters, folder: Path, seed: int
    ) -> None:
        self._pipeline = pipeline
        self._parameters = parameters
        self._folder = folder
        self._seed = seed
        self._device: torch.device = pipeline.device
        self._unet = pipeline.unet
        self._noising = DDPMScheduler.from_config(pipeline.scheduler.config)
        #: rows put through the UNet at once; halved when memory runs out, the gradients being summed
        self._rows = parameters.fit_batch
        self.losses: list[float] = []
        for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
            if getattr(pipeline, part, None) is not None:
                getattr(pipeline, part).requires_grad_(False)
        with torch.no_grad():
            self._encoded = self._encode(lessons)
            self._prompts = {label: self._read(label) for label in sorted({one.label for one in lessons})}
        self._add_lora()
        self._optimizer = torch.optim.AdamW(
            [p for p in self._unet.parameters() if p.requires_grad], lr=parameters.learning_rate, weight_decay=1e-2
        )
        self._resume()

    def run(self, progress: Progress) -> Path:
        """Go on until the last step; returns the LoRA's file.

        ``progress`` is called after every step and may raise to stop: what is done so far is kept, and the next run
        goes on from there.

        Raises:
            EngineError: the fit does not fit into memory, or its loss is no number.
            DeviceFault: the device failed.
        """
        steps = self._parameters.fit_steps
        began, begun_at = time.monotonic(), len(self.losses)
        written, written_at = began, begun_at
        try:
            for step in range(begun_at, steps):
                self.losses.append(self._step(step))
                done = step + 1
                moment = time.monotonic()
                left = (moment - began) / (done - begun_at) * (steps - done)
                recent = float(np.mean(self.losses[-20:]))
                if moment - written > CHECKPOINT_SECONDS:
                    self._keep()
                    written, written_at = moment, done
                progress(done / steps, f"step {done} of {steps}, loss {recent:.4f}, about {_span(left)} left")
        except BaseException:
            if len(self.losses) > written_at:
                self._keep()
            raise
        return self._finish()

    def judge(self) -> float:
        """The defect's loss over all lessons at fixed noise and times: what a fit is to lower."""
        total = 0.0
        count = len(self._encoded.labels)
        with torch.no_grad():
            for row in range(count):
                defect, _, _ = self._losses([row], torch.Generator("cpu").manual_seed(row))
                total += float(defect)
        return total / count

    def _step(self, step: int) -> float:
        chance = torch.Generator("cpu").manual_seed((self._seed + step) % 2**63)
        chosen = torch.randint(len(self._encoded.labels), (self._parameters.fit_batch,), generator=chance).tolist()
        while True:
            try:
                with watched():
                    return self._learn(chosen, step)
            except OutOfMemory as fault:
                fault.__traceback__ = None
                self._optimizer.zero_grad(set_to_none=True)
                if self._rows == 1:
                    raise EngineError(
                        f"not even one lesson of {self._parameters.resolution} pixels fits into the device's memory; "
                        "lower “diffusion.resolution” or “diffusion.lora_rank”, or end what else uses the device"
                    ) from None
                self._rows = max(1, self._rows // 2)
                free_memory()
            except RuntimeError as fault:
                if is_device_fault(fault):
                    raise DeviceFault(f"the device failed while fitting: {fault}") from fault
                raise

    def _learn(self, chosen: Sequence[int], step: int) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(chosen), self._rows):
            rows = chosen[start : start + self._rows]
            # a seed for each group of rows, so that halving changes no other group's noise
            chance = torch.Generator("cpu").manual_seed((self._seed * 31 + step * 1009 + start) % 2**63)
            defect, surface, attention = self._losses(rows, chance)
            loss = (DEFECT * defect + OBJECT * surface + ATTENTION * attention) * (len(rows) / len(chosen))
            if not torch.isfinite(loss):
                raise EngineError(
                    f"the loss is no number at step {step + 1}; lower “diffusion.learning_rate”, or set "
                    "“diffusion.dtype” to “bfloat16” or “float32”"
                )
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_([p for p in self._unet.parameters() if p.requires_grad], 1.0)
        self._optimizer.step()
        return total

    def _losses(self, rows: Sequence[int], chance: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Defect, object and attention loss of some lessons; both kinds of masks go through the UNet together."""
        e, n = self._encoded, len(rows)
        pick = torch.tensor(list(rows))
        latents = e.latents[pick].to(self._device)
        noise = torch.randn(latents.shape, generator=chance).to(self._device, latents.dtype)
        times = torch.randint(self._noising.config.num_train_timesteps, (n,), generator=chance).to(self._device)
        noisy = self._noising.add_noise(latents, noise, times)
        concept, boxes = e.concept[pick].to(self._device), e.boxes[pick].to(self._device)
        seen = torch.cat(
            [
                torch.cat([noisy, concept, e.concept_masked[pick].to(self._device)], dim=1),
                torch.cat([noisy, boxes, e.boxes_masked[pick].to(self._device)], dim=1),
            ]
        )
        said = [self._prompts[e.labels[row]] for row in rows]
        embeds = torch.cat([one.concept for one in said] + [one.surface for one in said])
        added = None
        if said[0].pooled_concept is not None:
            pooled = torch.cat([one.pooled_concept for one in said] + [one.pooled_surface for one in said])
            r = float(self._parameters.resolution)
            sizes = torch.tensor([[r, r, 0.0, 0.0, r, r]], device=self._device, dtype=pooled.dtype)
            added = {"text_embeds": pooled, "time_ids": sizes.repeat(2 * n, 1)}
        positions = torch.tensor([one.positions for one in said], device=self._device)
        with self._autocast(), listening(self._unet, positions) as maps:
            guess = self._unet(
                seen,
                torch.cat([times, times]),
                encoder_hidden_states=embeds,
                added_cond_kwargs=added,
                return_dict=False,
            )[0]
        target = self._target(latents, noise, times)
        error = (guess.float() - torch.cat([target, target]).float()).square()
        inside = concept.float()
        defect = (error[:n] * inside).sum() / (inside.sum() * error.shape[1]).clamp(min=1)
        weight = boxes.float() + BACKGROUND * (1 - boxes.float())
        surface = (error[n:] * weight).sum() / (weight.sum() * error.shape[1])
        return defect, surface, maps.loss(inside)

    def _target(self, latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        match self._noising.config.prediction_type:
            case "v_prediction":
                return self._noising.get_velocity(latents, noise, times)
            case "sample":
                return latents
            case _:
                return noise

    def _autocast(self) -> Any:
        """bfloat16 and float16 weights stay as they are; the LoRA is in float32 and is cast where they meet."""
        dtype = self._unet.dtype
        return nullcontext() if dtype == torch.float32 else torch.autocast(self._device.type, dtype=dtype)

    def _add_lora(self) -> None:
        config = LoraConfig(
            r=self._parameters.lora_rank,
            lora_alpha=self._parameters.lora_rank,
            init_lora_weights="gaussian",
            target_modules=_LAYERS,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed % 2**63)
            self._unet.add_adapter(config)
        cast_training_params(self._unet, dtype=torch.float32)
        self._unet.train()

    def _encode(self, lessons: Sequence[Lesson]) -> _Encoded:
        """Every lesson through the autoencoder once; a step then costs the UNet alone."""
        latents: list[torch.Tensor] = []
        plain: list[torch.Tensor] = []
        boxed: list[torch.Tensor] = []
        concept: list[torch.Tensor] = []
        boxes: list[torch.Tensor] = []
        vae = self._pipeline.vae
        for number, lesson in enumerate(lessons):
            image = torch.from_numpy(lesson.image.transpose(2, 0, 1).copy())[None] * 2 - 1
            pair = [torch.from_numpy(m.copy())[None, None] for m in (lesson.concept, lesson.boxes)]
            chance = torch.Generator("cpu").manual_seed((self._seed + number) % 2**63)
            whole = torch.cat([image, *(image * (1 - mask) for mask in pair)])
            found = self._to_latents(vae, whole, chance)
            latents.append(found[:1])
            plain.append(found[1:2])
            boxed.append(found[2:])
            small = [functional.interpolate(m, size=found.shape[-2:], mode="nearest").to(found) for m in pair]
            concept.append(small[0])
            boxes.append(small[1])
        return _Encoded(
            latents=torch.cat(latents),
            concept=torch.cat(concept),
            concept_masked=torch.cat(plain),
            boxes=torch.cat(boxes),
            boxes_masked=torch.cat(boxed),
            labels=[lesson.label for lesson in lessons],
        )

    def _to_latents(self, vae: Any, images: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
        upcast = bool(getattr(vae.config, "force_upcast", False)) and vae.dtype == torch.float16
        if upcast:  # SDXL's autoencoder overflows in float16
            vae.to(dtype=torch.float32)
        spread = vae.encode(images.to(self._device, vae.dtype)).latent_dist
        if upcast:
            vae.to(dtype=torch.float16)
        drawn = torch.randn(spread.mean.shape, generator=chance).to(spread.mean)
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        found = (spread.mean + spread.std * drawn - shift) * vae.config.scaling_factor
        return found.to("cpu", self._unet.dtype)

    def _read(self, label: str) -> _Prompts:
        p = self._parameters
        read = [
            self._pipeline.encode_prompt(
                sentence, device=self._device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
            for sentence in (p.prompt_for(label), p.object_prompt_for(label))
        ]
        # SDXL answers (embeddings, negative, pooled, negative pooled), the others without the pooled ones
        pooled = [one[2] if len(one) > 2 else None for one in read]
        return _Prompts(
            concept=read[0][0],
            surface=read[1][0],
            pooled_concept=pooled[0],
            pooled_surface=pooled[1],
            positions=token_positions(self._pipeline.tokenizer, p.prompt_for(label), p.token),
        )

    def _keep(self) -> None:
        """Write the checkpoint and the curve: beside, then renamed, so that a killed writer leaves the last one."""
        draft = self._folder / f".{_CHECKPOINT}"
        torch.save(
            {
                "lora": get_peft_model_state_dict(self._unet),
                "optimizer": self._optimizer.state_dict(),
                "losses": self.losses,
            },
            draft,
        )
        draft.replace(self._folder / _CHECKPOINT)
        self._draw()

    def _resume(self) -> None:
        path = self._folder / _CHECKPOINT
        if not path.exists():
            return
        kept = torch.load(path, map_location="cpu", weights_only=True)
        set_peft_model_state_dict(self._unet, kept["lora"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self.losses = list(kept["losses"])

    def _finish(self) -> Path:
        self._draw()
        draft = f".{LORA_FILE}"
        type(self._pipeline).save_lora_weights(
            str(self._folder),
            unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(self._unet)),
            weight_name=draft,
        )
        (self._folder / LOSSES).write_text(json.dumps(self.losses))
        final = self._folder / LORA_FILE
        (self._folder / draft).replace(final)
        (self._folder / _CHECKPOINT).unlink(missing_ok=True)
        return final

    def _draw(self) -> None:
        if self.losses:
            done, picture = cv2.imencode(".png", draw_curve(self.losses, self._parameters.fit_steps))
            assert done
            (self._folder / CURVE).write_bytes(picture.tobytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prompts:
    """A label's two sentences as the UNet reads them, and where the taught word stands in the first."""

    concept: torch.Tensor
    surface: torch.Tensor
    pooled_concept: Any
    pooled_surface: Any
    positions: list[bool]


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
