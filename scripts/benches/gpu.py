"""``scripts/bench gpu``: speed of the diffusion engine on this machine, with full-size models of random weights.

*stock* is diffusers as in its documentation: float16, one picture at a time, 50 steps of the model's own scheduler,
guidance 7.5. For a LoRA it is the documented training recipe: autoencoder, text encoder and UNet in every step, batch
4. *ours* is the engine with its defaults, with the batch size and the optimizations measured here, and with lessons
that are encoded once.

Painted pictures are counted in full batches. The search for places and the measurement of masks are not included. One
training step of ours passes 8 rows through the UNet (4 with the concept masked and 4 with boxes); the recipe's step
passes 4. ``ours_50_steps_images_per_s`` shows the gain at an equal number of steps. ``fit_minutes`` is for 400 steps,
extrapolated from fewer. ``peak_share`` is the UNet's floating-point operations per second at the batch size, divided by
those of a large matrix product."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

#: Number of pictures and of training steps that are measured, and number of unmeasured ones before them.
_PICTURES, _STEPS, _WARM = 3, 20, 3
_FIT_STEPS = 400
_PROMPT = "a photo of sks thing"


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 2 if there is no GPU, unless the arguments exclude GPUs."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", choices=("sd15", "sdxl", "tiny"), default="sd15", help="tiny is for trying the bench")
    parser.add_argument("--device", choices=("cuda", "mps", "cpu"), default="cuda")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args(arguments)
    try:
        import torch
    except ModuleNotFoundError:
        print("torch is not installed; run: pip install -e '.[diffusion]'", file=sys.stderr)
        return 2
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not available[chosen.device]:
        print(
            f"there is no {chosen.device} device here, so there is nothing to measure; "
            "--arch tiny --device cpu tries the bench out",
            file=sys.stderr,
        )
        return 2
    figures = measure(chosen.arch, chosen.device)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
    for name, value in figures.items():
        print(f"{name:>28}  {value}")
    return 0


def measure(arch: str, device_name: str) -> dict[str, Any]:
    """Return all figures of one architecture on one device."""
    import torch

    from benches.random_pipeline import ARCHITECTURES, build
    from datagen.synthesis.diffusion.inference import autotune
    from datagen.synthesis.diffusion.parameters import DiffusionParameters
    from datagen.synthesis.diffusion.runtime.device_errors import free_memory
    from datagen.synthesis.diffusion.weights import pipeline_loading

    side = ARCHITECTURES[arch].side
    device = torch.device(device_name)
    own = DiffusionParameters(resolution=side, device=device_name, fit_steps=_FIT_STEPS)
    half = torch.float32 if device.type == "cpu" else torch.float16
    with tempfile.TemporaryDirectory() as kept:
        folder = build(arch, Path(kept) / arch, dtype=half)
        _say("stock, one picture at a time")
        stock = pipeline_loading.load(folder, DiffusionParameters(scheduler="own"), device, half)
        stock_rate = 1 / _seconds(lambda: _stock_picture(stock, side), _PICTURES, device)
        _say("stock LoRA recipe")
        stock_step: float | None = None
        try:
            stock_step = _stock_lora_step(stock, side, device)
        except torch.OutOfMemoryError:
            _say("the stock LoRA recipe does not fit into this device's memory")
        stock = None
        free_memory()
        pipeline_loading.same_every_time()
        dtype = pipeline_loading.dtype_of("auto", device)
        _say("ours: batch and optimizations")
        pipeline = pipeline_loading.load(folder, own, device, dtype)
        tuned = (
            autotune.measure(pipeline, own) if device.type != "cpu" else autotune.tune(pipeline, own, Path(kept), arch)
        )
        _say(f"ours: batch {tuned.batch}, {', '.join(tuned.optimizations) or 'no optimizations'}")
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()  # the batches that were tried and not chosen took more
        rate = _our_rate(pipeline, own, tuned.batch, device)
        slow = _our_rate(pipeline, own.model_copy(update={"steps": 50}), tuned.batch, device)
        painting_peak = _peak(device)
        share = _share_of_peak(pipeline, tuned.batch, side, device, dtype)
        del pipeline
        free_memory()
        _say("ours: LoRA")
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        setup, step = _our_lora_step(folder, own, device, dtype, Path(kept))
        fit_peak = _peak(device)
        return {
            "device": pipeline_loading.device_name(device),
            "arch": arch,
            "stock_images_per_s": _round(stock_rate),
            "ours_images_per_s": _round(rate),
            "ours_50_steps_images_per_s": _round(slow),
            "stock_lora_step_ms": None if stock_step is None else _round(1000 * stock_step),
            "ours_lora_step_ms": _round(1000 * step),
            "fit_minutes": _round((setup + _FIT_STEPS * step) / 60),
            "peak_share": _round(share),
            "peak_gb": _round(max(painting_peak, fit_peak) if painting_peak and fit_peak else None),
            "painting_peak_gb": _round(painting_peak),
            "fit_peak_gb": _round(fit_peak),
            "batch": tuned.batch,
            "optimizations": list(tuned.optimizations),
            "tried": {name: _round(value) for name, value in tuned.images_per_second.items()},
            "dtype": str(dtype).removeprefix("torch."),
            "versions": pipeline_loading.versions(),
        }


def _our_rate(pipeline: Any, own: Any, batch: int, device: Any) -> float:
    """Return crops per second in full batches, as the mean of as many calls as for *stock*."""
    from datagen.synthesis.diffusion.inference.autotune import orders_for
    from datagen.synthesis.diffusion.inference.inpainter import Inpainter

    painter, orders = Inpainter(pipeline, own, batch), orders_for(own, batch)
    return batch / _seconds(lambda: list(painter.paint(orders)), _PICTURES, device)


def _peak(device: Any) -> float | None:
    import torch

    return torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None


def _stock_picture(pipeline: Any, side: int) -> None:
    import torch

    mask = torch.zeros(1, 1, side, side)
    mask[..., side // 4 : side // 2, side // 4 : side // 2] = 1
    image = torch.full((1, 3, side, side), 0.5)
    options = {"num_inference_steps": 50, "guidance_scale": 7.5, "height": side, "width": side, "output_type": "np"}
    with torch.inference_mode():
        pipeline(prompt=_PROMPT, image=image, mask_image=mask, **options)


def _stock_lora_step(pipeline: Any, side: int, device: Any) -> float:
    """Return the seconds of a step of diffusers' LoRA training example, with the mask's channels beside the latents."""
    import torch
    import torch.nn.functional as functional
    from diffusers import DDPMScheduler
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    unet, vae = pipeline.unet, pipeline.vae
    for part in (unet, vae, pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None)):
        if part is not None:
            part.requires_grad_(False)
    layers = ["to_k", "to_q", "to_v", "to_out.0"]
    unet.add_adapter(LoraConfig(r=8, lora_alpha=8, init_lora_weights="gaussian", target_modules=layers))
    cast_training_params(unet, dtype=torch.float32)
    trained = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    noising = DDPMScheduler.from_config(pipeline.scheduler.config)
    images = torch.rand(4, 3, side, side) * 2 - 1
    masks = torch.zeros(4, 1, side, side)
    masks[..., side // 4 : side // 2, side // 4 : side // 2] = 1

    def step() -> None:
        shown, mask = images.to(device, vae.dtype), masks.to(device, vae.dtype)
        with torch.no_grad():
            latents = vae.encode(shown).latent_dist.sample() * vae.config.scaling_factor
            masked = vae.encode(shown * (1 - mask)).latent_dist.sample() * vae.config.scaling_factor
            embeddings = pipeline.encode_prompt(
                [_PROMPT] * 4, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
        noise = torch.randn_like(latents)
        times = torch.randint(0, noising.config.num_train_timesteps, (4,), device=device)
        noisy = noising.add_noise(latents, noise, times)
        seen = torch.cat([noisy, functional.interpolate(mask, size=latents.shape[-2:]), masked], dim=1)
        added = None
        if len(embeddings) > 2:
            sizes = torch.tensor([[side, side, 0, 0, side, side]] * 4, device=device, dtype=embeddings[0].dtype)
            added = {"text_embeds": embeddings[2], "time_ids": sizes}
        with torch.autocast(device.type, dtype=torch.float16, enabled=device.type != "cpu"):
            guess = unet(seen, times, encoder_hidden_states=embeddings[0], added_cond_kwargs=added, return_dict=False)[
                0
            ]
        loss = functional.mse_loss(guess.float(), noise.float())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()

    return _seconds(step, _STEPS, device)


def _our_lora_step(folder: Path, own: Any, device: Any, dtype: Any, kept: Path) -> tuple[float, float]:
    """Return the seconds until the first step, in which the lessons are encoded, and the seconds of a step."""
    from datagen.synthesis.diffusion.training.dataset import Lesson
    from datagen.synthesis.diffusion.training.trainer import Trainer
    from datagen.synthesis.diffusion.weights import pipeline_loading

    chance = np.random.default_rng(0)
    mask = np.zeros((own.resolution, own.resolution), np.float32)
    mask[: own.resolution // 3, : own.resolution // 3] = 1
    lessons = [
        Lesson(
            image=chance.random((own.resolution, own.resolution, 3), dtype=np.float32),
            concept=mask,
            boxes=mask.T.copy(),
            label="thing",
        )
        for _ in range(64)
    ]
    pipeline = pipeline_loading.load(folder, own, device, dtype)
    home = kept / "fit"
    home.mkdir()
    began = time.perf_counter()
    teacher = Trainer(pipeline, lessons, own, home, seed=0)
    setup = time.perf_counter() - began
    moments: list[float] = []

    class Enough(Exception):
        pass

    def progress(_done: float, _what: str) -> None:
        moments.append(time.perf_counter())  # the loss was read off the device: the step is over
        if len(moments) == _WARM + _STEPS:
            raise Enough

    with suppress(Enough):
        teacher.run(progress)
    return setup, (moments[-1] - moments[_WARM - 1]) / _STEPS


def _share_of_peak(pipeline: Any, batch: int, side: int, device: Any, dtype: Any) -> float:
    """Return the UNet's operations per second, divided by those of a large matrix product in the same data type."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    rows = 2 * batch  # guidance doubles them
    size = 8192 if device.type == "cuda" else 1024
    matrix, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    peak = 2 * size**3 / _seconds(lambda: matrix @ other, 20, device)
    unet, config = pipeline.unet, pipeline.unet.config
    small = side // pipeline.vae_scale_factor
    seen = torch.randn(rows, config.in_channels, small, small, device=device, dtype=dtype)
    embeddings = torch.randn(rows, 77, config.cross_attention_dim, device=device, dtype=dtype)
    added = None
    if config.addition_embed_type == "text_time":
        sizes = torch.tensor([[side, side, 0, 0, side, side]] * rows, device=device, dtype=dtype)
        added = {"text_embeds": torch.randn(rows, 1280, device=device, dtype=dtype), "time_ids": sizes}

    def forward() -> None:
        with torch.inference_mode():
            unet(seen, 500, encoder_hidden_states=embeddings, added_cond_kwargs=added, return_dict=False)

    seconds = _seconds(forward, 10, device)
    torch.compiler.set_stance("force_eager")  # counted where each operation is seen by itself
    counter = FlopCounterMode(display=False)
    with counter:
        forward()
    torch.compiler.set_stance("default")
    return float(counter.get_total_flops() / seconds / peak)


def _seconds(run: Callable[[], object], times: int, device: Any) -> float:
    """Return the mean seconds of a call of ``run``, after some calls that are not measured."""
    import torch

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()
        elif device.type == "mps":
            torch.mps.synchronize()

    for _ in range(min(_WARM, times)):
        run()
    wait()
    began = time.perf_counter()
    for _ in range(times):
        run()
    wait()
    return (time.perf_counter() - began) / times


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
