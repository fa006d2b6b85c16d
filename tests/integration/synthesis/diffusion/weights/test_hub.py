"""Weights on a hub: they are described before work is queued, and an interrupted download resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

constants = pytest.importorskip("huggingface_hub.constants")

from datagen.synthesis.diffusion.parameters import DiffusionParameters  # noqa: E402
from datagen.synthesis.diffusion.weights.hub import find_on_the_hub  # noqa: E402
from datagen.synthesis.diffusion.weights.preflight import check, find_weights  # noqa: E402
from hub_server import COMMIT, serving  # noqa: E402

OWN = DiffusionParameters(weights="owner/name", device="cpu")


@pytest.fixture
def hub(weights, tmp_path, monkeypatch):
    """A hub on this machine that holds ``weights`` as owner/name, and a cache that is empty."""
    with serving(weights, tmp_path / "cache", monkeypatch) as server:
        yield server


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_weights_that_can_be_fetched_are_no_problem_and_are_not_fetched_yet(hub):
    assert find_on_the_hub(OWN) == (None, [])
    assert not [path for _, path in hub.asked if path.endswith(".safetensors")]


def test_a_text_to_image_model_is_refused_before_its_weights_are_fetched(hub, weights):
    change(weights / "model_index.json", _class_name="StableDiffusionPipeline")
    change(weights / "unet" / "config.json", in_channels=4)
    message = check({"diffusion": {"weights": "owner/name", "device": "cpu"}})
    assert "Owner/name is a text-to-image model (StableDiffusionPipeline: its UNet takes 4 channels" in message[0]
    assert not [path for _, path in hub.asked if path.endswith(".safetensors")]


@pytest.mark.parametrize("name", ["model_index.json", "unet/config.json"])
def test_a_configuration_that_the_hub_has_cut_off_is_not_taken_for_a_hub_that_is_away(hub, weights, name):
    (weights / name).write_text('{"in_chan')
    assert find_on_the_hub(OWN)[1] == [f"owner/name/{name} cannot be read; download the weights again"]


def test_a_repository_that_is_no_pipeline_is_said(hub, weights):
    (weights / "model_index.json").unlink()
    assert "owner/name on the hub has no model_index.json" in find_on_the_hub(OWN)[1][0]


def test_a_name_that_the_hub_does_not_know_is_said(hub):
    other = DiffusionParameters(weights="owner/other", device="cpu")
    assert "the hub knows no weights 'owner/other'" in find_on_the_hub(other)[1][0]


def test_a_hub_that_went_away_is_said(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    message = check({"diffusion": {"weights": "owner/name", "device": "cpu"}})
    assert "the hub cannot be reached (ConnectError)" in message[0]
    assert "set “diffusion.weights” to their folder" in message[0]


def test_a_download_that_was_broken_off_goes_on_where_the_hub_can_be_asked(hub, monkeypatch):
    assert find_weights(OWN) == (None, [])  # the configurations are in the cache now, the weights are not
    assert find_weights(OWN) == (None, [])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = check({"diffusion": {"weights": "owner/name", "device": "cpu"}})
    assert any("is missing; download the weights again" in sentence for sentence in message)


def test_weights_in_the_cache_are_used_without_asking(hub, weights):
    from huggingface_hub import hf_hub_download

    for path in [p for p in weights.rglob("*") if p.is_file()]:
        hf_hub_download("owner/name", str(path.relative_to(weights)), endpoint=f"http://127.0.0.1:{hub.server_port}")
    hub.asked.clear()
    folder, message = find_on_the_hub(OWN)
    assert (message, hub.asked) == ([], [])
    assert folder == find_cached()


def find_cached():
    """Where the hub's own client keeps that commit."""
    return Path(constants.HF_HUB_CACHE) / "models--owner--name" / "snapshots" / COMMIT
