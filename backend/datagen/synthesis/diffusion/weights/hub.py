"""Finds weights that are given as a hub id, in the hub's cache or on the hub, and checks whether they can inpaint.

Does not import torch. Only configurations are fetched here, a few kilobytes, so that a model's ability to inpaint is
checked before a job is queued. The weights are fetched by the worker that needs them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.weights.inspection import INDEX, broken_off, kind_problems

#: Timeout of a request to the hub, in seconds.
_HUB_SECONDS = 5.0
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
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        if folder is not None:
            return folder, []  # missing files are reported when the folder is examined
        return None, [
            f"the weights {own.weights} are not on this machine, and HF_HUB_OFFLINE forbids fetching them; download "
            "them elsewhere and set “diffusion.weights” to their folder"
        ]
    return None, _hub_problems(own)


def _hub_problems(own: DiffusionParameters) -> list[str]:
    """Return the problems that prevent fetching the weights from the hub, or inpainting with them."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint, revision = os.environ.get("HF_ENDPOINT"), own.revision or None

    def fetch(name: str) -> Path:
        return Path(hf_hub_download(own.weights, name, revision=revision, endpoint=endpoint, etag_timeout=_HUB_SECONDS))

    try:
        facts = HfApi(endpoint=endpoint).model_info(own.weights, revision=revision, timeout=_HUB_SECONDS)
        index = fetch(INDEX)
        available = {file.rfilename for file in facts.siblings or ()}
        for name in _CONFIGURATIONS:
            if name in available:
                fetch(name)
    except GatedRepoError:
        return [
            f"the weights {own.weights} are handed out only after their licence was accepted: accept it on the hub's "
            "page and set HF_TOKEN, or set “diffusion.weights” to a local folder"
        ]
    except RevisionNotFoundError:
        return [f"the weights {own.weights} have no revision {own.revision!r}; correct “diffusion.revision”"]
    except RepositoryNotFoundError:
        return [f"the hub knows no weights {own.weights!r}; correct “diffusion.weights”, or set HF_TOKEN"]
    except EntryNotFoundError:
        return [
            f"{own.weights} on the hub has no {INDEX}: it is not a pipeline's folder. Set “diffusion.weights” to one "
            "that is, or convert it (docs/diffusion.md says how)"
        ]
    except Exception as error:  # every network error is reported in the same sentence, with its type
        return [
            f"the weights {own.weights} are not here and the hub cannot be reached ({type(error).__name__}); "
            "download them elsewhere and set “diffusion.weights” to their folder"
        ]
    return [problem.replace(str(index.parent), own.weights) for problem in kind_problems(index.parent)]
