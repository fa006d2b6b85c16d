"""Folders of tiny segmentation models with random weights, in the form in which the hub has SAM and SAM 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: Side of the models' input in pixels.
SIDE = 64


def build_sam(folder: Path) -> Path:
    """Write a SAM of a few thousand numbers to ``folder``, and return the folder."""
    from transformers import SamConfig, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
            "window_size": 2,
            "global_attn_indexes": [0],
            "mlp_dim": 16,
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": SIDE, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    _save(SamModel(config), folder)
    _write_preparation(folder, size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    return folder


def build_sam2(folder: Path) -> Path:
    """Write a SAM 2 of a few thousand numbers to ``folder``, and return the folder."""
    from transformers import Sam2Config, Sam2Model

    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 16,
                "num_attention_heads": 1,
                "image_size": [SIDE, SIDE],
                "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "blocks_per_stage": [1, 2, 1, 1],
                "window_size_per_stage": [8, 4, 4, 2],
                "window_positional_embedding_background_size": [2, 2],
                "global_attention_blocks": [2],
            },
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[SIDE // 4, SIDE // 4], [SIDE // 8, SIDE // 8], [SIDE // 16, SIDE // 16]],
            "fpn_hidden_size": 16,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    _save(Sam2Model(config), folder)
    _write_preparation(folder, size={"height": SIDE, "width": SIDE}, pad_size=None)
    return folder


def build_sam2_video(folder: Path) -> Path:
    """Write a SAM 2 with the parts for videos, which the hub's files of SAM 2 have, and return the folder."""
    from transformers import Sam2Config, Sam2VideoConfig, Sam2VideoModel

    still = Sam2Config.from_pretrained(build_sam2(folder))
    config = Sam2VideoConfig(
        vision_config=still.vision_config,
        prompt_encoder_config=still.prompt_encoder_config,
        mask_decoder_config=still.mask_decoder_config,
        image_size=SIDE,
        num_maskmem=2,
        memory_attention_hidden_size=16,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_rope_feat_sizes=[SIDE // 16, SIDE // 16],
        memory_encoder_hidden_size=16,
        memory_encoder_output_channels=8,
        mask_downsampler_embed_dim=16,
        memory_fuser_embed_dim=16,
        memory_fuser_intermediate_dim=16,
    )
    _save(Sam2VideoModel(config), folder)
    return folder


def _save(model: Any, folder: Path) -> None:
    """Write a model with numbers so large that its masks depend on the picture."""
    import torch

    torch.manual_seed(0)
    for numbers in model.parameters():
        torch.nn.init.normal_(numbers, std=0.3)
    model.save_pretrained(folder)


def _write_preparation(folder: Path, size: dict[str, int], pad_size: dict[str, int] | None) -> None:
    body = {
        "do_pad": pad_size is not None,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "pad_size": pad_size,
        "rescale_factor": 1 / 255,
        "size": size,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(body))
