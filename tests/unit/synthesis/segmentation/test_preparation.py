"""Pictures as a segmentation model takes them, by the model's own configuration."""

from __future__ import annotations

import json

import numpy as np
import pytest

from datagen.synthesis.segmentation.preparation import BadPreparation, Preparation

MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.25, 0.5]
PADDED = {
    "size": {"longest_edge": 64},
    "pad_size": {"height": 64, "width": 64},
    "image_mean": MEAN,
    "image_std": DEVIATION,
}


def written(folder, body, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(body))
    return folder


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_picture_keeps_its_proportions_and_is_padded(tmp_path, kind):
    picture = np.full((50, 100, 3), 204 * (257 if kind is np.uint16 else 1), kind)
    prepared = Preparation.read(written(tmp_path, PADDED)).apply(picture)
    assert prepared.values.shape == (3, 64, 64)
    assert (prepared.height, prepared.width) == (32, 64)
    expected = (204 / 255 - np.array(MEAN)) / DEVIATION
    np.testing.assert_allclose(prepared.values[:, :32].reshape(3, -1), np.repeat(expected[:, None], 32 * 64, 1), 1e-5)
    assert not prepared.values[:, 32:].any()


def test_picture_is_stretched_where_the_configuration_says_so(tmp_path):
    body = PADDED | {"size": {"height": 64, "width": 64}, "pad_size": None}
    prepared = Preparation.read(written(tmp_path, body)).apply(np.full((50, 100), 204, np.uint8))
    assert (prepared.height, prepared.width) == (64, 64)
    assert prepared.corners(10, 10, 50, 50) == (6.4, 12.8, 32.0, 64.0)


def test_configuration_of_a_whole_processor_is_read(tmp_path):
    written(tmp_path, {"image_processor": PADDED}, "processor_config.json")
    assert Preparation.read(tmp_path).side == 64


@pytest.mark.parametrize("size", [(50, 100), (100, 50), (300, 120)])
def test_mask_has_the_place_of_the_scores_in_the_picture(tmp_path, size):
    height, width = size
    preparation = Preparation.read(written(tmp_path, PADDED))
    prepared = preparation.apply(np.zeros(size, np.uint8))
    left, top, right, bottom = (
        round(v / 4) for v in prepared.corners(width * 0.25, height * 0.5, width * 0.75, height)
    )
    scores = np.full((16, 16), -1, np.float32)
    scores[top:bottom, left:right] = 1
    mask = prepared.mask(scores)
    assert mask.shape == size
    truth = np.zeros(size, bool)
    truth[height // 2 :, width // 4 : width * 3 // 4] = True
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"size": {"shortest_edge": 64}}, "lacks “size”"),
        ({"size": 64}, "lacks “size”"),
        ({"image_mean": None}, "lacks “size”, “image_mean” or “image_std”"),
        ({"image_std": [0, 1, 1]}, "“image_std” of 0"),
        ({"image_mean": [0.5]}, "no square of 16 to 4096 pixels with three channels"),
        ({"size": {"height": 64, "width": 32}}, "no square"),
        ({"size": {"longest_edge": 10**9}, "pad_size": None}, "no square of 16 to 4096 pixels"),
        ({"pad_size": {"height": 64, "width": 80}}, "no square"),
    ],
)
def test_preparation_of_another_form_is_refused_by_name(tmp_path, change, problem):
    with pytest.raises(BadPreparation, match=problem):
        Preparation.read(written(tmp_path, PADDED | change))


def test_missing_and_damaged_configurations_are_refused_by_name(tmp_path):
    with pytest.raises(BadPreparation, match=r"holds no preprocessor_config.json"):
        Preparation.read(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"size"')
    with pytest.raises(BadPreparation, match=r"preprocessor_config.json cannot be read; download the model again"):
        Preparation.read(tmp_path)
