"""Finds weights that are given as a hub id, in the hub's cache or on the hub, and checks whether they can inpaint.

Does not import torch. Only configurations are fetched here, a few kilobytes, so that a model's ability to inpaint is
checked before a job is queued. The weights are fetched by the worker that needs them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.weights.inspection import INDEX, broken_off, kind_problems
from datagen.synthesis.model_files.hub import HUB_SECONDS, is_offline, offline_problem, refusal

#: The configuration files that distinguish inpainting models from other models.
_CONFIGURATIONS = ("unet/config.json", "transformer/config.json")


def find_on_the_hub(own: DiffusionParameters) -> tuple[Path | None, list[str]]:
    """Return the folder of the weights in the hub's cache, and the problems that prevent fetching them.

    The folder is None if the weights are not cached; an incomplete download counts as not cached and will be resumed.
    The list is empty if the weights are cached or can be fetched.
    """
    if find_spec("huggingface_hub") is None:
        return None, []  # reported by the check of the packages
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(own.weights, INDEX, revision=own.revision or None)
    folder = Path(cached).parent if isinstance(cached, str) else None
    if folder is not None and not broken_off(folder):
        return folder, []
    if is_offline():
        if folder is not None:
            return folder, []  # missing files are reported when the folder is examined
        return None, [offline_problem(own.weights, "diffusion.weights")]
    return None, _hub_problems(own)


def _hub_problems(own: DiffusionParameters) -> list[str]:
    """Return the problems that prevent fetching the weights from the hub, or inpainting with them."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    endpoint, revision = os.environ.get("HF_ENDPOINT"), own.revision or None

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(own.weights, name, revision=revision, endpoint=endpoint, etag_timeout=HUB_SECONDS))

    try:
        facts = HfApi(endpoint=endpoint).model_info(own.weights, revision=revision, timeout=HUB_SECONDS)
        index = fetch(INDEX)
        available = {file.rfilename for file in facts.siblings or ()}
        for name in _CONFIGURATIONS:
            if name in available:
                fetch(name)
    except EntryNotFoundError:
        return [
            f"{own.weights} on the hub has no {INDEX}: it is not a pipeline's folder. Set “diffusion.weights” to one "
            "that is, or convert it (docs/diffusion.md says how)"
        ]
    except Exception as error:  # every library below has its own exceptions for a network that fails
        return [
            refusal(
                error,
                own.weights,
                own.revision,
                parameter="diffusion.weights",
                revision_parameter="diffusion.revision",
            )
        ]
    return [problem.replace(str(index.parent), own.weights) for problem in kind_problems(index.parent)]
