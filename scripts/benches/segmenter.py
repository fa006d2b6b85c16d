"""The judge: one small segmenter, trained alike on whatever a method offers, tested on held-out real images.

A four-level UNet (Ronneberger et al. 2015) of 12 to 96 channels, 400 steps of 8 crops of 80 pixels, AdamW with a
one-cycle rate, exponential weight averaging; binary cross-entropy plus soft Dice. Half the crops are centred on the
concept, half lie anywhere. Flips, quarter turns, scale and brightness are varied for every method alike.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from datagen.synthesis.intensity import channels_as, to_tones

STEPS, CROPS, CROP_PX = 400, 8, 80
_RATE, _AVERAGING, _CHANNELS = 3e-3, 0.98, 12


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image [h, w] or [h, w, 3] and its mask [h, w], true on the concept; ``origin``: the concept it was made of."""

    image: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_]
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Training images, and their share of the crops."""

    images: Sequence[Labelled]
    share: float


class Segmenter:
    """A trained network."""

    def __init__(self, network: nn.Module, centre: float, scale: float) -> None:
        self._network, self._centre, self._scale = network, centre, scale

    def likelihood(self, image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the probability of the concept for each pixel, [h, w], 0 to 1."""
        tones = channels_as(to_tones(image), 3)
        height, width = tones.shape[:2]
        padded = np.pad(tones, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="reflect")
        batch = torch.from_numpy((padded - self._centre) / self._scale).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            answer = torch.sigmoid(self._network(batch.to(memory_format=torch.channels_last)))
        return answer[0, 0, :height, :width].numpy()


def train(sources: Sequence[Source], seed: int, steps: int = STEPS) -> Segmenter:
    """Train a segmenter on the sources; the seed determines the network and all random choices."""
    torch.manual_seed(seed)
    chance = np.random.default_rng(seed)
    sources = [source for source in sources if source.images]
    shares = np.cumsum([source.share for source in sources]) / sum(source.share for source in sources)
    sample = [one.image for source in sources for one in source.images[:: max(1, len(source.images) // 20)]]
    values = np.concatenate([to_tones(image[::4, ::4]).ravel() for image in sample])
    centre, scale = float(values.mean()), float(values.std()) + 1.0
    network = _UNet(_CHANNELS).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_RATE, total_steps=steps)
    for step in range(steps):
        crops = [
            _crop(sources[int(np.searchsorted(shares, chance.random(), side="right"))].images, chance, n % 2 == 0)
            for n in range(CROPS)
        ]
        x = torch.from_numpy(np.stack([(tones - centre) / scale for tones, _ in crops])).permute(0, 3, 1, 2)
        y = torch.from_numpy(np.stack([mask for _, mask in crops])).float()[:, None]
        guess = network(x.float().contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        _loss(guess, y).backward()
        # two-level pictures give steep losses: one wild step early on can leave a network that finds nothing
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        keep = min(_AVERAGING, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
                if mean.is_floating_point():
                    mean.lerp_(now, 1 - keep)
    return Segmenter(average.eval(), centre, scale)


def _loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    entropy = nn.functional.binary_cross_entropy_with_logits(guess, truth)
    soft = torch.sigmoid(guess)
    dice = 1 - (2 * (soft * truth).sum() + 1) / (soft.sum() + truth.sum() + 1)
    return entropy + dice


def _crop(
    images: Sequence[Labelled], chance: np.random.Generator, centred: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """One varied crop: tones [CROP_PX, CROP_PX, 3] and mask."""
    for _ in range(20):
        one = images[int(chance.integers(len(images)))]
        positive = np.argwhere(one.mask[::2, ::2]) if centred else None
        if not centred or (positive is not None and len(positive)):
            break
    height, width = one.mask.shape
    side = CROP_PX / float(np.exp(chance.normal() * 0.15))
    if centred and positive is not None and len(positive):
        y, x = (positive[int(chance.integers(len(positive)))] * 2 + chance.uniform(-0.35, 0.35, 2) * side).tolist()
    else:
        y, x = chance.uniform(0, height), chance.uniform(0, width)
    # turn and mirror by whole quarters about the crop's middle, scale, one resampling
    half, zoom = CROP_PX / 2, CROP_PX / side
    quarter, mirror = int(chance.integers(4)), chance.random() < 0.5
    cos, sin = (1, 0, -1, 0)[quarter] * zoom, (0, 1, 0, -1)[quarter] * zoom
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    # a crop stays inside the image as far as the image is large enough
    y = float(np.clip(y, min(side / 2, height / 2), max(height - side / 2, height / 2)))
    x = float(np.clip(x, min(side / 2, width / 2), max(width - side / 2, width / 2)))
    matrix = np.hstack([linear, np.array([[half], [half]]) - linear @ np.array([[x], [y]])])
    # only the pixels it needs are turned into floats
    reach = int(side) + 2
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    cut = (slice(top, int(y) + reach), slice(left, int(x) + reach))
    matrix[:, 2] += linear @ np.array([left, top])
    tones = channels_as(to_tones(one.image[cut]), 3)
    size = (CROP_PX, CROP_PX)
    tones = cv2.warpAffine(tones, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(one.mask[cut].astype(np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    contrast, brightness = float(np.exp(chance.normal() * 0.15)), float(chance.normal() * 10)
    tones = np.clip((tones - 128) * contrast + 128 + brightness, 0, 255)
    tones += chance.normal(0, 2, tones.shape)
    return tones.astype(np.float32), mask


class _UNet(nn.Module):
    def __init__(self, base: int) -> None:
        super().__init__()
        widths = [base, 2 * base, 4 * base, 8 * base]
        self.down = nn.ModuleList(_block(before, after) for before, after in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(_block(2 * w + w, w) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(base, 1, 1)
        nn.init.constant_(self.last.bias, -3.0)  # the concept is rare

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for block in self.down:
            x = block(nn.functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        kept.pop()
        for block in self.up:
            x = block(torch.cat([nn.functional.interpolate(x, scale_factor=2), kept.pop()], 1))
        return self.last(x)


def _block(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
