"""Judges of the quality bench: segmenters that are trained on a method's images and tested on held-out real images.

All judges are trained in the same way: AdamW with a one-cycle learning rate, averaged weights, and binary cross-entropy
plus soft Dice as loss. The seed determines the network and all random choices. On one thread and one kind of machine,
the figures are therefore reproducible."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benches.crops import Crops, Labelled, Source, View, resized
from datagen.synthesis.intensity import channels_as, to_tones

CROPS = 8
_AVERAGING = 0.98


@dataclass(frozen=True, slots=True)
class Network:
    """A module from tones [n, 3, h, w], 0 to 255, to scores [n, 1, h, w].

    Its parameters are grouped by their highest learning rate.
    """

    module: nn.Module
    rates: Sequence[tuple[Sequence[nn.Parameter], float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A kind of segmenter.

    ``version`` must be changed whenever the same images give other figures. ``view`` returns the view for the longest
    sides of the given concepts. ``build`` returns an untrained network, given some of the training images.
    """

    name: str
    version: int
    steps: int
    view: Callable[[Sequence[float]], View]
    build: Callable[[Sequence[Labelled]], Network]


class Segmenter:
    """A trained judge."""

    def __init__(self, module: nn.Module, view: View) -> None:
        self._module, self._view = module, view

    def likelihood(self, image: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the probability of the concept for each pixel, [h, w], 0 to 1."""
        tones = channels_as(to_tones(resized(image, self._view.scale)), 3)
        height, width = tones.shape[:2]
        rows, columns = (_padding(side, self._view.crop_px) for side in (height, width))
        padded = np.pad(tones, (rows, columns, (0, 0)), mode="reflect")
        batch = torch.from_numpy(padded).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            scores = torch.sigmoid(self._module(batch.contiguous(memory_format=torch.channels_last)))
        likelihood = scores[0, 0, rows[0] : rows[0] + height, columns[0] : columns[0] + width].numpy()
        if likelihood.shape != image.shape[:2]:
            likelihood = cv2.resize(likelihood, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(likelihood, np.float32)


def _padding(side: int, crop_px: int) -> tuple[int, int]:
    """Return the pixels added before and after a side of a photo.

    A narrow photo gets surroundings, as a crop has. Every padded side is a multiple of 16.
    """
    lacking = max(crop_px - side, 0)
    lacking += -(side + lacking) % 16
    return lacking // 2, lacking - lacking // 2


def train(judge: Judge, sources: Sequence[Source], view: View, seed: int, steps: int | None = None) -> Segmenter:
    """Return a judge trained on the sources, with ``steps`` steps or, by default, the judge's own number."""
    torch.manual_seed(seed)
    steps = steps or judge.steps
    crops = Crops(sources, view, np.random.default_rng(seed))
    sample = [image for source in sources for image in source.images[:: max(1, len(source.images) // 20)]]
    network = judge.build(sample)
    module = network.module.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(module)
    optimizer = torch.optim.AdamW(
        [{"params": list(parameters), "lr": rate} for parameters, rate in network.rates], weight_decay=1e-4
    )
    rates = [rate for _, rate in network.rates]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rates, total_steps=steps)
    trained = [parameter for parameters, _ in network.rates for parameter in parameters]
    # buffers: the statistics of batch norms; those of frozen layers are equal in both
    pairs = [
        (mean, now)
        for mean, now in zip(average.state_dict().values(), module.state_dict().values(), strict=True)
        if mean.is_floating_point()
    ]
    for step in range(steps):
        tones, masks = crops.draw(CROPS)
        x = torch.from_numpy(tones).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad()
        _loss(module(x), torch.from_numpy(masks)[:, None]).backward()
        # two-level pictures give steep losses: one wild step early on can leave a network that finds nothing
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        keep = min(_AVERAGING, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in pairs:
                mean.lerp_(now, 1 - keep)
    return Segmenter(average.eval(), view)


def _loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    entropy = nn.functional.binary_cross_entropy_with_logits(guess, truth)
    soft = torch.sigmoid(guess)
    dice = 1 - (2 * (soft * truth).sum() + 1) / (soft.sum() + truth.sum() + 1)
    return entropy + dice
