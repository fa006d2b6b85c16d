"""The engines' use of the hub: the form of its ids, whether it may be used, and its refusals as sentences."""

from __future__ import annotations

import os
import re

#: Timeout of a request to the hub, in seconds.
HUB_SECONDS = 5.0


def looks_like_hub_id(weights: str) -> bool:
    """Return whether the text has the form of a hub id, "owner/name"."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", weights)) and not weights.startswith((".", "~"))


def is_offline() -> bool:
    """Return whether the environment forbids requests to the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def offline_problem(weights: str, parameter: str) -> str:
    """Return the sentence for weights that are not cached and must not be fetched.

    ``parameter`` is the name of the parameter that names the weights.
    """
    return (
        f"the weights {weights} are not on this machine, and HF_HUB_OFFLINE forbids fetching them; download "
        f"them elsewhere and set “{parameter}” to their folder"
    )


def refusal(error: Exception, weights: str, revision: str, *, parameter: str, revision_parameter: str) -> str:
    """Return the sentence for a request to the hub that failed.

    Args:
        error: the exception of the request.
        weights: the hub id.
        revision: the revision that was asked for.
        parameter: the name of the parameter that names the weights.
        revision_parameter: the name of the parameter that names the revision.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return (
            f"the weights {weights} are handed out only after their licence was accepted: accept it on the hub's "
            f"page and set HF_TOKEN, or set “{parameter}” to a local folder"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the weights {weights} have no revision {revision!r}; correct “{revision_parameter}”"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub knows no weights {weights!r}; correct “{parameter}”, or set HF_TOKEN"
    return (
        f"the weights {weights} are not here and the hub cannot be reached ({type(error).__name__}); "
        f"download them elsewhere and set “{parameter}” to their folder"
    )
