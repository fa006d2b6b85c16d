"""Attention maps of the learned token are read without changing the model's output."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from datagen.synthesis.diffusion.models.attention import listening, token_positions  # noqa: E402
from datagen.synthesis.diffusion.parameters import DiffusionParameters  # noqa: E402
from datagen.synthesis.diffusion.weights import pipeline_loading  # noqa: E402


@pytest.fixture
def pipeline(tiny):
    """The tiny pipeline on the CPU."""
    return pipeline_loading.load(tiny, DiffusionParameters(), torch.device("cpu"), torch.float32)


def test_the_taught_words_tokens_are_found_in_the_sentence(pipeline):
    positions = token_positions(pipeline.tokenizer, "a photo of sks pit", "sks")
    ids = pipeline.tokenizer("a photo of sks pit").input_ids
    assert len(positions) == 77
    assert pipeline.tokenizer.decode([i for i, ours in zip(ids, positions, strict=False) if ours]).strip() == "sks"


def test_listening_changes_nothing_and_ends_with_the_block(pipeline):
    unet = pipeline.unet
    noisy, message = torch.randn(2, 9, 16, 16), torch.randn(2, 77, 32)
    positions = torch.zeros(1, 77, dtype=torch.bool)
    positions[0, 5] = True
    with torch.no_grad():
        plain = unet(noisy, 10, encoder_hidden_states=message).sample
        with listening(unet, positions) as maps:
            heard = unet(noisy, 10, encoder_hidden_states=message).sample
        assert torch.equal(plain, heard)
        count = len(maps.maps)
        unet(noisy, 10, encoder_hidden_states=message)
    assert count == len(maps.maps) > 0
    assert maps.maps[0].shape == (1, 16, 16)
    # attention is a share: what the word gets in one place lies between nothing and all
    assert 0 <= float(maps.maps[0].min()) <= float(maps.maps[0].max()) <= 1


def test_the_loss_is_least_where_attention_is_the_mask(pipeline):
    with listening(pipeline.unet, torch.zeros(1, 77, dtype=torch.bool)) as maps:
        pass
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:8, 4:8] = 1
    maps.maps = [mask[:, 0]]
    assert float(maps.loss(mask)) == 0
    maps.maps = [1 - mask[:, 0]]
    assert float(maps.loss(mask)) == 1


def test_the_last_rows_are_listened_to(pipeline):
    unet, noisy = pipeline.unet, torch.randn(1, 9, 16, 16)
    message, other = torch.randn(2, 1, 77, 32)
    positions = torch.zeros(1, 77, dtype=torch.bool)
    positions[0, 5] = True
    rows = []
    with torch.no_grad():
        for words in (torch.cat([message, other]), torch.cat([other, other]), torch.cat([other, message])):
            with listening(unet, positions) as maps:
                unet(torch.cat([noisy, noisy]), 10, encoder_hidden_states=words)
            rows.append(torch.cat([layer.flatten() for layer in maps.maps]))
    assert torch.allclose(rows[0], rows[1])
    assert not torch.allclose(rows[1], rows[2])
