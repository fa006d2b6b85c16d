"""Preparation of a picture for a segmentation model, as the model's own configuration prescribes. Imports no torch.

The processors of transformers need torchvision, which no extra installs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from datagen.synthesis.engine import Picture
from datagen.synthesis.intensity import Bools, Floats, channels_as, to_tones
from datagen.synthesis.model_files.json_files import json_object

#: The files that may hold the configuration, and the key under which a file holds it; "" if it is the file itself.
FILES = {"preprocessor_config.json": "", "processor_config.json": "image_processor"}
#: Smallest and largest side of a model's input in pixels.
_SIDES = (16, 4096)


class BadPreparation(Exception):
    """The configuration cannot be used. The text names the problem and the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A picture as a model takes it.

    ``values`` is [3, side, side]. The picture fills its first ``height`` rows and ``width`` columns; the rest is 0.
    ``shape`` is the height and width of the picture itself.
    """

    values: Floats
    height: int
    width: int
    shape: tuple[int, int]

    def corners(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """Return a box of the picture in pixels of ``values``: left, top, right and bottom."""
        across, down = self.width / self.shape[1], self.height / self.shape[0]
        return left * across, top * down, right * across, bottom * down

    def mask(self, scores: Floats) -> Bools:
        """Return the mask [h, w] of the picture for a model's scores [n, n], which are positive on the object."""
        side = self.values.shape[1]
        padded = cv2.resize(scores, (side, side), interpolation=cv2.INTER_LINEAR)
        height, width = self.shape
        filled = np.ascontiguousarray(padded[: self.height, : self.width])
        return np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR) > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """A model's input: its side in pixels, and the mean and the deviation of each channel (0 to 1).

    If ``keeps_proportions``, the longer side of a picture becomes ``side`` and the rest is padded; else the picture is
    stretched to the square.
    """

    side: int
    keeps_proportions: bool
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def read(cls, folder: Path) -> Preparation:
        """Return the preparation that a model's folder prescribes.

        Raises:
            BadPreparation: the file is missing or unreadable, or it prescribes another kind of preparation.
        """
        for name, key in FILES.items():
            if (folder / name).is_file():
                body = json_object(folder / name)
                if body is not None and key:
                    body = body.get(key)
                if not isinstance(body, Mapping):
                    raise BadPreparation(f"{folder / name} cannot be read; download the model again")
                return cls._parsed(body, folder / name)
        raise BadPreparation(f"{folder} holds no {next(iter(FILES))}, so that pictures cannot be prepared for it")

    @classmethod
    def _parsed(cls, body: Mapping[str, Any], file: Path) -> Preparation:
        try:
            size: Mapping[str, Any] = body["size"]
            keeps_proportions = bool(size.get("longest_edge"))
            side = int(size["longest_edge"] if keeps_proportions else size["height"])
            padded: Mapping[str, Any] = size
            if keeps_proportions:
                padded = body.get("pad_size") or {"height": side, "width": side}
            square = (int(padded["height"]), int(padded["width"])) == (side, side)
            mean = tuple(float(value) for value in body["image_mean"])
            deviation = tuple(float(value) for value in body["image_std"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise BadPreparation(
                f"{file} lacks “size”, “image_mean” or “image_std”, or has them in another form; choose a model of "
                "transformers’ SAM or SAM 2"
            ) from None
        if not square or not _SIDES[0] <= side <= _SIDES[1] or len(mean) != 3 or len(deviation) != 3:
            raise BadPreparation(
                f"{file} prescribes a picture that is no square of {_SIDES[0]} to {_SIDES[1]} pixels with three "
                "channels; choose a model of transformers’ SAM or SAM 2"
            )
        if min(deviation) <= 0:
            raise BadPreparation(f"{file} has an “image_std” of 0; download the model again")
        return cls(side=side, keeps_proportions=keeps_proportions, mean=mean, deviation=deviation)

    def apply(self, picture: Picture) -> Prepared:
        """Return a picture, resized, normalized and padded."""
        height, width = picture.shape[:2]
        tones = np.clip(np.rint(channels_as(to_tones(picture), 3)), 0, 255).astype(np.uint8)
        scale = self.side / max(height, width)
        new_height = max(1, int(height * scale + 0.5)) if self.keeps_proportions else self.side
        new_width = max(1, int(width * scale + 0.5)) if self.keeps_proportions else self.side
        resized = Image.fromarray(tones).resize((new_width, new_height), Image.Resampling.BILINEAR)
        values = np.zeros((3, self.side, self.side), np.float32)
        normal = (np.asarray(resized, np.float32) / 255 - np.asarray(self.mean, np.float32)) / np.asarray(
            self.deviation, np.float32
        )
        values[:, :new_height, :new_width] = normal.transpose(2, 0, 1)
        return Prepared(values=values, height=new_height, width=new_width, shape=(height, width))
