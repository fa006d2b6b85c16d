"""Weights named by a hub's id: whether they are in the hub's cache, or could be fetched, and of what kind they are.

No torch. At most the configurations are fetched here, a few kilobytes: whether a model can inpaint is said before any
job is queued, the weights are fetched by the worker that needs them.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.weights.inspection import INDEX, broken_off, kind_problems

#: How long the hub may take to answer, seconds.
_HUB_SECONDS = 5.0
#: The configurations that tell a model for inpainting from others.
_CONFIGURATIONS = ("unet/config.json", "transformer/config.json")


def find_on_the_hub(own: DiffusionParameters) -> tuple[Path | None, list[str]]:
    """The folder of the weights in the hub's cache; None where they have yet to be fetched, or cannot be, with reasons.

    A download that was broken off has yet to be fetched: it goes on where it was.
    """
    if find_spec("huggingface_hub") is None:
        return None, []  # the packages' sentence says it
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(own.weights, INDEX, revision=own.revision or None)
    folder = Path(cached).parent if isinstance(cached, str) else None
    if folder is not None and not broken_off(folder):
        return folder, []
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        if folder is not None:
            return folder, []  # what of it is missing is said when it is examined
        return None, [
            f"the weights {own.weights} are not on this machine, and HF_HUB_OFFLINE forbids fetching them; download "
            "them elsewhere and set “diffusion.weights” to their folder"
        ]
    return None, _ask(own)


def _ask(own: DiffusionParameters) -> list[str]:
    """What stands against fetching these weights and painting with them."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    endpoint, revision = os.environ.get("HF_ENDPOINT"), own.revision or None

    def fetched(name: str) -> Path:
        return Path(hf_hub_download(own.weights, name, revision=revision, endpoint=endpoint, etag_timeout=_HUB_SECONDS))

    try:
        facts = HfApi(endpoint=endpoint).model_info(own.weights, revision=revision, timeout=_HUB_SECONDS)
        index = fetched(INDEX)
        there = {file.rfilename for file in facts.siblings or ()}
        for name in _CONFIGURATIONS:
            if name in there:
                fetched(name)
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
    except Exception as fault:  # whatever the network does: the answer is the same sentence, with its name
        return [
            f"the weights {own.weights} are not here and the hub cannot be reached ({type(fault).__name__}); "
            "download them elsewhere and set “diffusion.weights” to their folder"
        ]
    return [said.replace(str(index.parent), own.weights) for said in kind_problems(index.parent)]
