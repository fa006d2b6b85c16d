"""An inpainting pipeline of 7 MB with random weights, made here: every part of the path is real, nothing is fetched.

Its tokenizer has one token a byte and knows no merges; its UNet and autoencoder have two blocks each.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SIDE = 32


def build(folder: Path, *, channels: int = 9, seed: int = 0) -> Path:
    """A pipeline's folder; ``channels`` of 4 make it a text-to-image model."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=8,
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE // 2,
        in_channels=channels,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
    )
    kind = StableDiffusionInpaintPipeline if channels == 9 else StableDiffusionPipeline
    pipeline = kind(
        vae=vae,
        text_encoder=CLIPTextModel(_text_config()),
        tokenizer=_tokenizer(folder),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(str(folder))
    return folder


def _text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=514,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )


def _tokenizer(folder: Path) -> CLIPTokenizer:
    # GPT-2's printable stand-ins for the 256 bytes
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in plain] + [chr(256 + n) for n in range(256 - len(plain))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    home = folder.with_name(f"{folder.name}-vocabulary")
    home.mkdir(parents=True)
    (home / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (home / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(home / "vocab.json"), str(home / "merges.txt"), model_max_length=77)
