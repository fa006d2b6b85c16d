"""The pretrained judge: a network that starts from ImageNet's weights, as people usually train theirs.

It consists of EfficientNet-Lite0 up to a step of 16 pixels, and a light decoder with skip connections to a step of 2.
It is trained for 200 steps of 8 crops of 160 pixels. Small concepts are enlarged up to twice in the crops. The layers
before a step of 8 are frozen, because eight photos cannot improve edges and textures that were learned from a million.
The statistics of all pretrained batch norms are frozen too, because crops of a few photos do not have those of later
photos."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Self

import torch
from torch import nn

from benches.crops import Labelled, fitting_view
from benches.efficientnet_lite import CHANNELS, EfficientNetLite0, prepared
from benches.judging import Judge, Network

#: Highest learning rates of the pretrained layers and of the decoder.
_FINE_RATE, _RATE = 5e-4, 3e-3
#: Number of the network's stages that are used, and number of them that are frozen.
_STAGES, _FROZEN = 4, 3
_WIDTHS = (16, 24, 32)


def _build(_sample: Sequence[Labelled]) -> Network:
    module = _PretrainedUNet()
    return Network(module, [(list(module.fine.parameters()), _FINE_RATE), (list(module.decoder.parameters()), _RATE)])


PRETRAINED = Judge(
    name="pretrained",
    version=1,
    steps=200,
    view=partial(fitting_view, crop_px=(160, 160), usual_px=32.0, max_scale=2.0),
    build=_build,
)


class _PretrainedUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        stages = EfficientNetLite0.pretrained().stages()[:_STAGES]
        self.frozen = nn.ModuleList(stages[:_FROZEN]).requires_grad_(False)
        self.fine = nn.ModuleList(stages[_FROZEN:])
        self.decoder = _Decoder()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.frozen.eval()
        self.fine.eval()  # its weights are trained, the statistics of its batch norms stay
        return self

    def forward(self, tones: torch.Tensor) -> torch.Tensor:
        x, levels = prepared(tones), []
        with torch.no_grad():
            for stage in self.frozen:
                x = stage(x)
                levels.append(x)
        for stage in self.fine:
            x = stage(x)
            levels.append(x)
        return self.decoder(levels)


class _Decoder(nn.Module):
    """Decoder from features at steps of 16, 8, 4 and 2 pixels to scores at every pixel."""

    def __init__(self) -> None:
        super().__init__()
        skips = CHANNELS[: _STAGES - 1]
        before = [*_WIDTHS[1:], CHANNELS[_STAGES - 1]]
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(low + skip, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            )
            for low, skip, width in zip(before, skips, _WIDTHS, strict=True)
        )
        self.last = nn.Conv2d(_WIDTHS[0], 1, 1)
        nn.init.constant_(self.last.bias, -3.0)  # the concept is rare

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        x = levels[-1]
        for block, skip in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            x = block(torch.cat([nn.functional.interpolate(x, scale_factor=2), skip], 1))
        return nn.functional.interpolate(self.last(x), scale_factor=2, mode="bilinear", align_corners=False)
