"""Inpainting pipelines with random weights. They are made here without a download, and with all parts of a real one.

Speed does not depend on the values of the weights, so full-size pipelines give true throughput. Those named ``tiny`` (a
few MB) are for tests. The tokenizer for CLIP has one token for each byte and no merges; that for T5 has one for each
letter."""

from __future__ import annotations

import json
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLInpaintPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

#: Number of tokens in the byte vocabulary, and its tokens for the beginning and the end.
_WORDS, _BEGIN, _END = 514, 512, 513
_DEEP = ("DownEncoderBlock2D", "UpDecoderBlock2D")
#: Sizes that all tiny pipelines share.
_TINY_TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_TINY_VAE: dict[str, Any] = {"block_out_channels": (32, 64), "norm_num_groups": 8}
_OF_TRANSFORMERS = {**_TINY_VAE, "use_quant_conv": False, "use_post_quant_conv": False}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Sizes of a pipeline's parts, under the names of their configurations.

    ``side`` is the side of the pictures that the pipeline paints, in pixels.
    """

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
        vae=_TINY_VAE,
        text=_TINY_TEXT,
    ),
    "tiny-sdxl": Architecture(
        side=32,
        unet={
            "sample_size": 16,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            # both encoders' words beside each other
            "cross_attention_dim": 32 + 48,
            "attention_head_dim": (4, 8),
            "transformer_layers_per_block": (1, 2),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "norm_num_groups": 8,
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            # six sizes, and the second encoder's projection
            "projection_class_embeddings_input_dim": 6 * 8 + 40,
        },
        vae={"block_out_channels": (32, 64), "norm_num_groups": 8, "scaling_factor": 0.13025, "force_upcast": True},
        text=_TINY_TEXT,
        second_text={
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "projection_dim": 40,
        },
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
    """Save a pipeline of the architecture ``name`` in ``folder``; return the folder.

    With 4 ``channels``, its UNet is that of a text-to-image model.
    """
    torch.manual_seed(seed)
    architecture = ARCHITECTURES[name]
    parts: dict[str, Any] = {
        "vae": _autoencoder(latent_channels=4, **architecture.vae),
        "unet": UNet2DConditionModel(in_channels=channels, out_channels=4, **architecture.unet),
        "text_encoder": CLIPTextModel(_text(architecture.text)),
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
    if architecture.second_text is not None:
        parts |= {
            "text_encoder_2": CLIPTextModelWithProjection(_text(architecture.second_text)),
            "tokenizer_2": parts["tokenizer"],
        }
        pipeline = StableDiffusionXLInpaintPipeline(**parts)
    else:
        kind = StableDiffusionInpaintPipeline if channels == 9 else StableDiffusionPipeline
        pipeline = kind(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipeline.to(dtype=dtype).save_pretrained(str(folder))
    return folder


def build_flux_fill(folder: Path, *, channels: int | None = None, seed: int = 0) -> Path:
    """Save a tiny Flux Fill pipeline in ``folder``; return the folder.

    With 16 ``channels``, its transformer is that of a text-to-image model.
    """
    torch.manual_seed(seed)
    # latents and those of the masked picture, in squares of 2 × 2, and the mask in squares of 4 × 4 pixels
    seen = 2 * 4 * 4 + 4 * 4
    words, reader = _second_reader(32)
    pipeline = FluxFillPipeline(
        vae=_autoencoder(
            latent_channels=4,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            **_OF_TRANSFORMERS,
        ),
        transformer=FluxTransformer2DModel(
            in_channels=channels or seen,
            out_channels=16,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
        text_encoder=CLIPTextModel(_text(_TINY_TEXT)),
        tokenizer=_tokenizer(folder),
        text_encoder_2=reader,
        tokenizer_2=words,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )
    pipeline.save_pretrained(str(folder))
    return folder


def build_sd3(folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny SD 3 pipeline in ``folder``; return the folder.

    It inpaints by restoring the known part after every step.
    """
    torch.manual_seed(seed)
    clip = _tokenizer(folder)
    words, reader = _second_reader(64)
    pipeline = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=16,
            out_channels=16,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=64,
            caption_projection_dim=32,
            pooled_projection_dim=64,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_autoencoder(
            latent_channels=16,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            **_OF_TRANSFORMERS,
        ),
        text_encoder=CLIPTextModelWithProjection(_text(_TINY_TEXT | {"projection_dim": 32})),
        tokenizer=clip,
        text_encoder_2=CLIPTextModelWithProjection(_text(_TINY_TEXT | {"projection_dim": 32})),
        tokenizer_2=clip,
        text_encoder_3=reader,
        tokenizer_3=words,
    )
    pipeline.save_pretrained(str(folder))
    return folder


def _second_reader(size: int) -> tuple[T5Tokenizer, T5EncoderModel]:
    """Return a T5 tokenizer with one token for each letter, and its encoder."""
    letters = [f"▁{letter}" for letter in string.ascii_lowercase] + list(string.ascii_letters + string.digits)
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    sizes = T5Config(vocab_size=len(words), d_model=size, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return T5Tokenizer(vocab=words, extra_ids=0, model_max_length=512), T5EncoderModel(sizes)


def _autoencoder(**sizes: Any) -> AutoencoderKL:
    levels = len(sizes["block_out_channels"])
    return AutoencoderKL(down_block_types=(_DEEP[0],) * levels, up_block_types=(_DEEP[1],) * levels, **sizes)


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
