"""SAM and SAM 2, by transformers. Imports torch; ``loading`` imports this module when a model is needed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForMaskGeneration
from transformers.utils import logging as transformers_logging

from datagen.domain.geometry import Box
from datagen.errors import DeviceFault, EngineError
from datagen.synthesis.engine import Picture
from datagen.synthesis.intensity import Bools, Floats
from datagen.synthesis.segmentation.preparation import Preparation
from datagen.synthesis.segmentation.segmenter import Segmenter
from datagen.synthesis.segmentation.views import View, views
from datagen.synthesis.segmentation.weights import PARAMETER

#: Number of boxes that are segmented at once: each takes about 20 MB.
_BOXES_AT_ONCE = 16


def load_sam(folder: Path, name: str) -> Segmenter:
    """Load the model of a folder. ``name`` is its name in reports and error messages.

    Raises:
        EngineError: the files do not fit one another, or the model does not fit into the memory.
        DeviceFault: the device failed.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    transformers_logging.disable_progress_bar()
    try:
        model, about = AutoModelForMaskGeneration.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # a mismatch of configuration and weights raises various exceptions
        raise EngineError(
            f"the model {name} cannot be loaded ({type(error).__name__}: {error}); choose another with “{PARAMETER}”"
        ) from error
    if missing := sorted(about["missing_keys"]):
        raise EngineError(
            f"the files of the model {name} lack {missing[0]!r} (and {len(missing) - 1} more numbers), which would be "
            f"filled at random; download it again, or choose another with “{PARAMETER}”"
        )
    with _device_errors(name):
        model = model.to(device).eval()
    return SamSegmenter(model, Preparation.read(folder), device, name=name, digest=_digest(folder))


class SamSegmenter:
    """A SAM or SAM 2 on a device; its masks depend on the weights, the kind of device and the version of torch."""

    def __init__(self, model: Any, preparation: Preparation, device: torch.device, *, name: str, digest: str) -> None:
        self._model, self._preparation, self._device = model, preparation, device
        self._name, self._digest = name, digest

    @property
    def description(self) -> str:
        """The model, its weights and its device in words, for reports."""
        return f"{self._name} (weights {self._digest[:12]}) on {self._device.type}"

    def masks(self, picture: Picture, boxes: Sequence[Box]) -> Iterator[Bools]:
        """Yield the mask of the object in each box, [h, w] of the picture, in the order of the boxes.

        Raises:
            EngineError: the model does not take the picture, or the memory ran out.
            DeviceFault: the device failed.
        """
        height, width = picture.shape[:2]
        masks: dict[int, tuple[View, Bools]] = {}
        for view in views(boxes, width, height):
            in_view = self._masks(picture[view.slices], [_moved(boxes[number], view) for number in view.numbers])
            masks |= {number: (view, mask) for number, mask in zip(view.numbers, in_view, strict=True)}
        for number in range(len(boxes)):
            view, part = masks.pop(number)
            mask = np.zeros((height, width), bool)
            mask[view.slices] = part
            yield mask

    def _masks(self, picture: Picture, boxes: Sequence[tuple[float, float, float, float]]) -> list[Bools]:
        """Return a mask [h, w] of the picture for each box (left, top, right, bottom)."""
        prepared = self._preparation.apply(picture)
        corners = [prepared.corners(*box) for box in boxes]
        masks: list[Bools] = []
        with _device_errors(self._name), torch.inference_mode():
            embeddings = self._model.get_image_embeddings(torch.from_numpy(prepared.values)[None].to(self._device))
            for start in range(0, len(corners), _BOXES_AT_ONCE):
                some = torch.tensor([corners[start : start + _BOXES_AT_ONCE]], dtype=torch.float32)
                result = self._model(
                    # SAM 2 changes the list
                    image_embeddings=list(embeddings) if isinstance(embeddings, list) else embeddings,
                    input_boxes=some.to(self._device),
                    multimask_output=False,
                )
                scores: Floats = result.pred_masks[0, :, 0].float().cpu().numpy()
                masks += [prepared.mask(of_box) for of_box in scores]
        return masks


@contextmanager
def _device_errors(name: str) -> Iterator[None]:
    """Context manager that converts errors of torch to Datagen's own.

    Raises:
        EngineError: the memory ran out, or the model does not take its input.
        DeviceFault: the device failed.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise EngineError(
            f"the model {name} does not fit into the GPU's memory; choose a smaller one with “{PARAMETER}”, or end "
            "what else uses the GPU"
        ) from None
    except torch.AcceleratorError as fault:
        raise DeviceFault(f"the device failed while the model {name} segmented: {fault}") from fault
    except (RuntimeError, ValueError) as error:
        raise EngineError(
            f"the model {name} cannot segment ({type(error).__name__}: {error}); choose another with “{PARAMETER}”"
        ) from error


def _moved(box: Box, view: View) -> tuple[float, float, float, float]:
    """Return the box in pixels of the window, clipped to it: left, top, right and bottom."""
    width, height = view.right - view.left, view.bottom - view.top
    return (
        min(max(box.x - view.left, 0.0), width),
        min(max(box.y - view.top, 0.0), height),
        min(max(box.right - view.left, 0.0), width),
        min(max(box.bottom - view.top, 0.0), height),
    )


def _digest(folder: Path) -> str:
    """Return the SHA-256 (hex) over the weight files of a folder."""
    total = hashlib.sha256()
    for file in sorted(folder.glob("model*.safetensors")):
        with file.open("rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()
