"""Loads a segmentation model by its name. Importing this module imports no torch; loading a model does."""

from __future__ import annotations

from datagen.errors import CannotRender
from datagen.synthesis.engine import sentence
from datagen.synthesis.segmentation.segmenter import Segmenter
from datagen.synthesis.segmentation.weights import check, fetch


def problems(name: str) -> tuple[str, ...]:
    """Return the problems, as sentences, that prevent loading the model of that name; none for the name ""."""
    return tuple(sentence(problem) for problem in check(name))


def load_segmenter(name: str) -> Segmenter | None:
    """Load the model of that name onto the GPU of this machine, or its CPU; return None for the name "".

    Raises:
        CannotRender: the extra or the model is missing or unusable; the message has a sentence for each problem.
        EngineError: the model cannot be fetched, or does not load.
    """
    if not name:
        return None
    if reasons := problems(name):
        raise CannotRender(" ".join(reasons))
    from datagen.synthesis.segmentation.sam import load_sam

    return load_sam(fetch(name), name)
