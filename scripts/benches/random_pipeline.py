"""Inpainting pipelines with random weights, made here: nothing is downloaded, every part of the path is real.

Speed does not depend on what the weights are, so full-size ones give honest throughput; ``tiny`` (7 MB) is for tests.
The tokenizer has one token a byte and knows no merges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

#: The byte vocabulary's size, and its marks for the beginning and the end.
_WORDS, _BEGIN, _END = 514, 512, 513
_DEEP = ("DownEncoderBlock2D", "UpDecoderBlock2D")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of a pipeline's parts, as their configurations name them, and the side it paints at."""

    side: int
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    second_text: dict[str, Any] | None = None


ARCHITECTURES = {
    "tiny": Architecture(
        side=32,
        unet={
            "sample_size": 16,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": 8,
            "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "norm_num_groups": 8,
        },
        vae={"block_out_channels": (32, 64), "norm_num_groups": 8},
        text={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    "sd15": Architecture(
        side=512,
        unet={
            "sample_size": 64,
            "block_out_channels": (320, 640, 1280, 1280),
            "layers_per_block": 2,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
        },
        vae={"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512},
        text={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    ),
    "sdxl": Architecture(
        side=1024,
        unet={
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "layers_per_block": 2,
            "cross_attention_dim": 2048,
            "attention_head_dim": (5, 10, 20),
            "transformer_layers_per_block": (1, 2, 10),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        vae={
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "sample_size": 1024,
            "scaling_factor": 0.13025,
        },
        text={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
        second_text={
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "num_attention_heads": 20,
            "projection_dim": 1280,
        },
    ),
}


def build(name: str, folder: Path, *, channels: int = 9, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Save a pipeline of that architecture; ``channels`` of 4 make the UNet that of a text-to-image model."""
    torch.manual_seed(seed)
    made = ARCHITECTURES[name]
    levels = len(made.vae["block_out_channels"])
    parts: dict[str, Any] = {
        "vae": AutoencoderKL(
            latent_channels=4, down_block_types=(_DEEP[0],) * levels, up_block_types=(_DEEP[1],) * levels, **made.vae
        ),
        "unet": UNet2DConditionModel(in_channels=channels, out_channels=4, **made.unet),
        "text_encoder": CLIPTextModel(_text(made.text)),
        "tokenizer": _tokenizer(folder),
        "scheduler": DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    }
    if made.second_text is not None:
        parts |= {
            "text_encoder_2": CLIPTextModelWithProjection(_text(made.second_text)),
            "tokenizer_2": parts["tokenizer"],
        }
        pipeline = StableDiffusionXLInpaintPipeline(**parts)
    else:
        kind = StableDiffusionInpaintPipeline if channels == 9 else StableDiffusionPipeline
        pipeline = kind(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.to(dtype=dtype).save_pretrained(str(folder))
    return folder


def _text(sizes: dict[str, int]) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=_WORDS,
        max_position_embeddings=77,
        bos_token_id=_BEGIN,
        eos_token_id=_END,
        pad_token_id=_END,
        **sizes,
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    # GPT-2's printable stand-ins for the 256 bytes
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in plain] + [chr(256 + n) for n in range(256 - len(plain))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    home = folder.with_name(f"{folder.name}-vocabulary")
    home.mkdir(parents=True, exist_ok=True)
    (home / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (home / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(home / "vocab.json"), str(home / "merges.txt"), model_max_length=77)
