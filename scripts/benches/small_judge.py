"""The small judge: a network that starts from random weights.

It is a UNet of four levels (Ronneberger et al. 2015) with 12 to 96 channels. It is trained for 400 steps of 8 crops of
80 to 128 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from benches.crops import Labelled, fitting_view
from benches.judging import Judge, Network
from datagen.synthesis.intensity import to_tones

_RATE, _CHANNELS = 3e-3, 12


def _build(sample: Sequence[Labelled]) -> Network:
    values = np.concatenate([to_tones(labelled.image[::4, ::4]).ravel() for labelled in sample])
    module = _UNet(_CHANNELS, float(values.mean()), float(values.std()) + 1.0)
    return Network(module, [(list(module.parameters()), _RATE)])


SMALL = Judge(
    name="small",
    version=2,
    steps=400,
    view=partial(fitting_view, crop_px=(80, 128), usual_px=0.0, max_scale=1.0),
    build=_build,
)


class _UNet(nn.Module):
    def __init__(self, base: int, centre: float, scale: float) -> None:
        super().__init__()
        widths = [base, 2 * base, 4 * base, 8 * base]
        self.down = nn.ModuleList(_block(before, after) for before, after in pairwise([3, *widths]))
        self.up = nn.ModuleList(_block(2 * w + w, w) for w in reversed(widths[:-1]))
        self.last = nn.Conv2d(base, 1, 1)
        self._centre, self._scale = centre, scale
        nn.init.constant_(self.last.bias, -3.0)  # the concept is rare

    def forward(self, tones: torch.Tensor) -> torch.Tensor:
        x = (tones - self._centre) / self._scale
        kept: list[torch.Tensor] = []
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
