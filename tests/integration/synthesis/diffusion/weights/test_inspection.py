"""A weights folder looked at from outside: every way in which downloads and conversions go wrong has its sentence."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from datagen.synthesis.diffusion.weights.inspection import broken_off, digest_of, examine
from datagen.synthesis.model_files.hub import looks_like_hub_id


def problem(folder, variant=""):
    """The one problem of a folder."""
    problems = examine(folder, variant).problems
    assert len(problems) == 1, problems
    return problems[0]


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_whole_folder_has_no_problems_and_its_size_is_counted(weights):
    inspection = examine(weights)
    assert (inspection.problems, inspection.numbers, inspection.denoiser) == ((), 3 * 32, "unet")


def test_a_half_downloaded_file_says_how_much_is_missing(weights, safetensors_file):
    path = safetensors_file(
        weights / "unet" / "diffusion_pytorch_model.safetensors", {"w": ("F16", [100, 100])}, missing=5000
    )
    assert f"{path} is half-downloaded: 5,000 of its" in problem(weights)


def test_a_file_cut_off_in_its_header_is_half_downloaded(weights):
    (weights / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\x00\x01")
    assert "not even its header is complete" in problem(weights)


def test_a_git_lfs_pointer_is_not_taken_for_weights(weights):
    (weights / "vae" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS pointer" in problem(weights)


def test_a_part_that_never_arrived_is_missed(weights):
    (weights / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert f"{weights / 'vae'} holds no weights; the download was broken off" in problem(weights)


def test_a_link_into_the_hubs_cache_whose_target_never_arrived_is_missed(weights, tmp_path):
    path = weights / "vae" / "diffusion_pytorch_model.safetensors"
    path.unlink()
    path.symlink_to(tmp_path / "blobs" / "0123")
    assert f"{path} is missing; the download was broken off" in problem(weights)


def test_a_missing_shard_is_named(weights, safetensors_file):
    (weights / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    first, second = (f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2))
    safetensors_file(weights / "unet" / first, {"a": ("F16", [2])})
    index = weights / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": first, "b": second}}))
    assert f"{weights / 'unet' / second} is missing" in problem(weights)


@pytest.mark.parametrize(
    "name", ["unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"]
)
def test_a_configuration_that_is_missing_or_cut_off_is_found_before_anything_is_loaded(weights, name):
    file = weights / name
    file.write_text('{"in_channels": 9, "beta_sch')
    assert not broken_off(weights)  # the hub would say that it is there
    assert problem(weights) == f"{file} cannot be read; download the weights again"
    file.unlink()
    assert broken_off(weights)
    assert f"{file.parent} holds no {file.name}; the download was broken off" in problem(weights)


def test_a_tokenizer_without_its_words_is_missed(weights):
    home = weights / "tokenizer"
    (home / "vocab.json").unlink()
    assert f"{home} holds no tokenizer.json or vocab.json or *.model; the download was broken off" in problem(weights)
    assert broken_off(weights)
    (home / "spiece.model").write_bytes(b"\x0a")
    assert examine(weights).problems == ()


def test_a_tokenizer_without_its_rules_is_missed(weights):
    home = weights / "tokenizer"
    (home / "merges.txt").unlink()
    assert problem(weights) == f"{home} holds no merges.txt; the download was broken off, start it again"
    assert broken_off(weights)
    (home / "tokenizer.json").write_text("{}")  # has both
    assert examine(weights).problems == ()


def test_a_tokenizer_whose_words_are_cut_off_is_found(weights):
    words = weights / "tokenizer" / "vocab.json"
    words.write_text('{"a": 0, "b')
    assert problem(weights) == f"{words} cannot be read; download the weights again"


@pytest.mark.parametrize("text", ["", '{"weight_map": {"a": "diff', "[]", '{"weight_map": []}'])
def test_an_index_of_shards_that_is_cut_off_is_a_problem_and_no_crash(weights, text):
    index = weights / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(text)
    assert problem(weights) == f"{index} cannot be read; download the weights again"
    assert not broken_off(weights)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"_class_name": "StableDiff', '"text"'])
def test_a_model_index_that_names_no_parts_is_a_problem_and_no_crash(weights, text):
    index = weights / "model_index.json"
    index.write_text(text)
    assert problem(weights) == f"{index} cannot be read; download the weights again"
    assert not broken_off(weights)


@pytest.mark.parametrize("header", [b"[]", b'{"w": 3}', b'{"w": {"dtype": "F16"}}', b'{"w": {"data_offsets": []}}'])
def test_a_header_that_describes_no_tensors_is_a_problem_and_no_crash(weights, header):
    path = weights / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert f"{path} has a header that cannot be read" in problem(weights)


def test_a_text_to_image_model_is_told_from_an_inpainting_one_by_its_channels(weights):
    change(weights / "model_index.json", _class_name="StableDiffusionPipeline")
    change(weights / "unet" / "config.json", in_channels=4)
    assert "is a text-to-image model (StableDiffusionPipeline: its UNet takes 4 channels" in problem(weights)
    assert "Set “diffusion.weights” to the inpainting kind" in problem(weights)


def test_a_flux_that_was_not_trained_to_fill_is_refused_with_the_one_that_was(weights):
    index = {"_class_name": "FluxPipeline", "scheduler": ["diffusers", "X"]}
    (weights / "model_index.json").write_text(json.dumps(index))
    (weights / "unet" / "config.json").unlink()
    assert "FLUX.1-Fill-dev" in problem(weights)


def test_a_flux_fill_with_the_transformer_of_another_flux_is_refused(weights):
    transformer = ["diffusers", "FluxTransformer2DModel"]
    change(weights / "model_index.json", _class_name="FluxFillPipeline", unet=[None, None], transformer=transformer)
    config = (weights / "unet").rename(weights / "transformer") / "config.json"
    config.write_text(json.dumps({"in_channels": 384, "out_channels": 64}))
    assert examine(weights).problems == ()
    config.write_text(json.dumps({"in_channels": 64, "out_channels": None}))
    assert "its transformer is that of a text-to-image model (it takes 64 channels and gives as many)" in problem(
        weights
    )


@pytest.mark.parametrize("kind", ["WanPipeline", "FluxControlNetInpaintPipeline", "KandinskyV22Pipeline", ""])
def test_a_pipeline_that_does_not_paint_from_picture_mask_and_sentence_is_refused(weights, kind):
    change(weights / "model_index.json", _class_name=kind)
    assert "which does not paint from a picture, a mask and a sentence" in problem(weights)


@pytest.mark.parametrize(
    "kind",
    [
        *("StableDiffusionInpaintPipeline", "StableDiffusionXLInpaintPipeline", "StableDiffusionXLPAGInpaintPipeline"),
        *("StableDiffusion3Pipeline", "FluxInpaintPipeline", "QwenImagePipeline", "QwenImageEditInpaintPipeline"),
        *("ZImagePipeline", "ZImageInpaintPipeline"),
    ],
)
def test_the_families_that_the_auto_class_inpaints_with_are_let_through(weights, kind):
    change(weights / "model_index.json", _class_name=kind)
    assert examine(weights).problems == ()


def test_what_a_broken_off_download_left_out_is_seen(weights):
    assert not broken_off(weights)
    (weights / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert broken_off(weights)
    assert broken_off(weights / "nowhere")


def test_weights_saved_with_a_lora_loaded_are_refused(weights, safetensors_file):
    safetensors_file(
        weights / "unet" / "diffusion_pytorch_model.safetensors", {"attn.to_q.base_layer.weight": ("F16", [2])}
    )
    assert "was saved with a LoRA loaded: its layers would be filled at random" in problem(weights)


def test_quantized_weights_are_named_by_their_kind(weights, safetensors_file):
    safetensors_file(weights / "unet" / "diffusion_pytorch_model.safetensors", {"w": ("F8_E4M3", [2])})
    assert "is stored as F8_E4M3" in problem(weights)


def test_weights_of_another_variant_name_the_setting(weights):
    path = weights / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    assert "set “diffusion.variant” to 'fp16'" in problem(weights)
    assert "clear “diffusion.variant”" in problem_of_other_parts(weights)


def problem_of_other_parts(folder):
    return " ".join(examine(folder, "fp16").problems)


def test_pickled_weights_are_refused_because_they_can_run_code(weights):
    path = weights / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    assert "a pickle (.bin) only, which can run code" in problem(weights)


def test_a_single_file_checkpoint_is_told_how_to_become_a_folder(tmp_path):
    (tmp_path / "v1-5-inpainting.safetensors").touch()
    assert "single-file checkpoint" in problem(tmp_path)


def test_a_folder_of_something_else_is_said_to_be_none(tmp_path):
    assert "has no model_index.json" in problem(tmp_path)


def test_the_digest_follows_the_contents_and_files_are_read_once(weights, tmp_path, safetensors_file):
    kept = tmp_path / "digests.json"
    first = digest_of(weights, kept)
    known = json.loads(kept.read_text())
    assert digest_of(weights, kept) == first
    # the kept digest is used without reading the files again
    kept.write_text(json.dumps(dict.fromkeys(known, "0" * 64)))
    assert digest_of(weights, kept) != first
    kept.unlink()
    safetensors_file(weights / "unet" / "diffusion_pytorch_model.safetensors", {"w": ("F32", [9])})
    assert digest_of(weights, kept) != first


@pytest.mark.parametrize(
    ("text", "is_id"),
    [("owner/name", True), ("./name", False), ("/models/name", False), ("name", False), ("a/b/c", False)],
)
def test_hub_ids_are_told_from_paths(text, is_id):
    assert looks_like_hub_id(text) is is_id


def test_workers_that_start_together_do_not_take_one_another_s_draft(weights, tmp_path):
    """Two workers wrote a draft of the same name, and the second did not find it any more."""
    kept = tmp_path / "digests.json"
    with ThreadPoolExecutor(4) as workers:
        digests = set(workers.map(lambda _: digest_of(weights, kept), range(200)))
    assert len(digests) == 1
