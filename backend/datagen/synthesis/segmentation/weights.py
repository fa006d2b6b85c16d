"""Finds a segmentation model by its name, and checks its files before work is queued. Imports no torch.

A name is a local folder, or a hub id with a commit: "owner/name@" and 40 hexadecimal digits. With a commit, the name
determines the weights, and so the masks."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from datagen.errors import EngineError
from datagen.synthesis.model_files.hub import HUB_SECONDS, is_offline, looks_like_hub_id, offline_problem, refusal
from datagen.synthesis.model_files.json_files import json_object
from datagen.synthesis.model_files.memory import installed_memory
from datagen.synthesis.model_files.safetensors_header import Broken, read_contents
from datagen.synthesis.segmentation.preparation import FILES, BadPreparation, Preparation

#: The name of the parameter that names the model, for error messages.
PARAMETER = "segmenter"
PACKAGES = ("torch", "transformers", "safetensors", "huggingface_hub")
#: The types of model that are supported, as their configuration names them. A file of SAM 2 for videos has the model
#: for pictures in it.
MODEL_TYPES = ("sam", "sam2", "sam2_video")
_CONFIGURATION, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
#: The files that are fetched from the hub: neither code nor weights in a form that can run code.
_FETCHED = (_CONFIGURATION, *FILES, "model*.safetensors", _INDEX)
_KINDS = frozenset({"F32", "F16", "BF16"})
#: Bytes of a number in memory, and memory in bytes besides the weights, for one picture.
_NUMBER_BYTES, _PICTURE_BYTES = 4, 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _HubModel:
    """A hub id and the commit of its files."""

    id: str
    commit: str


def check(name: str) -> tuple[str, ...]:
    """Return the problems with using the model of that name here; empty if there are none, or for no name."""
    if not name:
        return ()
    if missing := [package for package in PACKAGES if find_spec(package) is None]:
        return (
            f"{', '.join(missing)} is not installed here, which “{PARAMETER}” needs; run: "
            f"pip install 'label-studio-datagen[diffusion]', or clear “{PARAMETER}”",
        )
    try:
        folder, problems = _find(name)
        return tuple(problems if folder is None else _problems_of(folder))
    except (OSError, RuntimeError, RecursionError) as error:  # no permission, no home folder, endlessly nested JSON
        return (
            f"what “{PARAMETER}” names cannot be read ({type(error).__name__}: {error}); give the user that runs this "
            "the right to read it, or correct the name",
        )


def fetch(name: str) -> Path:
    """Return the folder of the model of that name, which ``check`` found usable; download it if it is not here.

    Raises:
        EngineError: the model cannot be fetched, or its files are unusable.
    """
    folder, problems = _find(name)
    if folder is None and not problems:
        folder = _download(_hub_model(name))
        problems = _problems_of(folder)
    if folder is None or problems:
        raise EngineError("; ".join(problems))
    return folder


def _find(name: str) -> tuple[Path | None, list[str]]:
    """Return the folder of the model on this machine, and the problems that make it unavailable.

    If the folder is None and there are no problems, the model can be fetched from the hub.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder, []
    model = _hub_model(name)
    if not looks_like_hub_id(model.id):
        return None, [
            f"“{PARAMETER}” names the folder {name}, which is not on this machine; place the model there, or set it to "
            "where it is"
        ]
    if not re.fullmatch(r"[0-9a-f]{40}", model.commit):
        return None, [
            f"“{PARAMETER}” is {name}, which is neither a folder on this machine nor a hub id with a commit; set it to "
            f"{model.id}@ and the 40 digits of a commit, so that its weights stay the same"
        ]
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(model.id, _CONFIGURATION, revision=model.commit)
    if isinstance(cached, str) and (is_offline() or not _problems_of(Path(cached).parent)):
        return Path(cached).parent, []
    if is_offline():
        return None, [offline_problem(model.id, PARAMETER)]
    return None, _hub_problems(model)


def _hub_model(name: str) -> _HubModel:
    hub_id, _, commit = name.partition("@")
    return _HubModel(id=hub_id, commit=commit)


def _hub_problems(model: _HubModel) -> list[str]:
    """Return the problems that prevent fetching a model from the hub, or using it; reads its configuration only."""
    from huggingface_hub import HfApi, hf_hub_download

    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        facts = HfApi(endpoint=endpoint).model_info(model.id, revision=model.commit, timeout=HUB_SECONDS)
        available = {file.rfilename for file in facts.siblings or ()}
        for needed in (_CONFIGURATION, *(name for name in FILES if name in available)):
            if needed in available:
                path = hf_hub_download(
                    model.id, needed, revision=model.commit, endpoint=endpoint, etag_timeout=HUB_SECONDS
                )
                folder = Path(path).parent
    except Exception as error:  # every library below has its own exceptions for a network that fails
        return [refusal(error, model.id, model.commit, parameter=PARAMETER, revision_parameter=PARAMETER)]
    if _CONFIGURATION not in available:
        return [f"{model.id} on the hub has no {_CONFIGURATION}; {_choose_another()}"]
    if not available & {_WEIGHTS, _INDEX}:
        return [f"{model.id} on the hub has no {_WEIGHTS}, and other weights can run code; {_choose_another()}"]
    return [problem.replace(str(folder), model.id) for problem in _configuration_problems(folder)]


def _download(model: _HubModel) -> Path:
    """Download a model's files into the hub's cache, and return their folder.

    Raises:
        EngineError: the files cannot be fetched.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                model.id,
                revision=model.commit,
                endpoint=os.environ.get("HF_ENDPOINT"),
                allow_patterns=list(_FETCHED),
                etag_timeout=HUB_SECONDS,
            )
        )
    except Exception as error:  # every library below has its own exceptions for a network that fails
        raise EngineError(
            f"the weights {model.id} could not be fetched ({type(error).__name__}: {error}); download them elsewhere "
            f"and set “{PARAMETER}” to their folder"
        ) from error


def _problems_of(folder: Path) -> list[str]:
    """Return the problems of a model's folder, as sentences that name the file and the fix."""
    problems = _configuration_problems(folder)
    files, missing = _weight_files(folder)
    problems += missing
    numbers = 0
    for file in files:
        try:
            contents = read_contents(file)
        except Broken as error:
            problems.append(f"{file} {error}")
            continue
        numbers += contents.numbers
        if strange := sorted(contents.kinds - _KINDS - {"I64", "I32", "BOOL"}):
            problems.append(f"{file} has numbers of the kind {strange[0]}, which are not read; {_choose_another()}")
    needed = numbers * _NUMBER_BYTES + _PICTURE_BYTES
    if needed > installed_memory():
        problems.append(
            f"{folder} needs about {needed / 1e9:.1f} GB of memory, and this machine has "
            f"{installed_memory() / 1e9:.1f} GB; choose a smaller model with “{PARAMETER}”"
        )
    return problems


def _configuration_problems(folder: Path) -> list[str]:
    """Return the problems of a model's configuration files."""
    file = folder / _CONFIGURATION
    if not file.is_file():
        return [f"{folder} has no {_CONFIGURATION}; it is no model's folder, or its download was broken off"]
    body = json_object(file)
    if body is None:
        return [f"{file} cannot be read; download the model again"]
    problems = []
    if (kind := body.get("model_type")) not in MODEL_TYPES:
        problems.append(
            f"{folder} is a model of the type {kind!r}, which segments no boxes here; set “{PARAMETER}” to one of the "
            f"types {', '.join(MODEL_TYPES)}"
        )
    try:
        Preparation.read(folder)
    except BadPreparation as error:
        problems.append(str(error))
    return problems


def _weight_files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the weight files of a model's folder, and the problems of those that are missing."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS], []
    if not (folder / _INDEX).is_file():
        return [], [
            f"{folder} holds no {_WEIGHTS}; download it, or choose a model that has one: other weights can run code "
            "when they are read"
        ]
    shards = (json_object(folder / _INDEX) or {}).get("weight_map")
    names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
    if not names or any(Path(name).name != name or not name.endswith(".safetensors") for name in names):
        return [], [f"{folder / _INDEX} cannot be read; download the model again"]
    missing = [name for name in names if not (folder / name).is_file()]
    return (
        [folder / name for name in names if name not in missing],
        [f"{folder} lacks {name}; the download was broken off, start it again" for name in missing],
    )


def _choose_another() -> str:
    return f"choose another model with “{PARAMETER}”"
