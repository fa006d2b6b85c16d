"""Inspects a pipeline's folder: completeness, ability to inpaint, and consistency. Does not import torch.

Loading a damaged folder fails late, on a GPU, with a message about tensors. These checks read only names and headers,
which takes milliseconds. Any process can run them before work is queued."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.synthesis.diffusion.runtime.artifact_cache import kept_in
from datagen.synthesis.model_files.json_files import json_object
from datagen.synthesis.model_files.safetensors_header import Broken, Contents, read_contents

#: The file that lists the parts of a pipeline.
INDEX = "model_index.json"
#: Names of the parts of a pipeline that have no weights of their own, or that are never loaded.
_WITHOUT_WEIGHTS = re.compile(r"scheduler|tokenizer|feature_extractor|image_processor|safety_checker|processor")
#: The configuration files of a part, by the prefix of the part's name; any one of them is sufficient.
_CONFIGURATIONS = {
    "scheduler": ("scheduler_config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json", "*.model"),
    "feature_extractor": ("*processor_config.json",),
    "image_processor": ("*processor_config.json",),
    "processor": ("*processor_config.json",),
    "safety_checker": ("*",),
    "": ("config.json",),
}
_FILE = re.compile(
    r"^(?:model|diffusion_pytorch_model|pytorch_model)(?:\.(?P<before>\w+))?(?:-\d+-of-\d+)?"
    r"(?:\.(?P<after>\w+))?\.(?P<kind>safetensors|bin)$"
)
#: Data types of quantized weights, which would need a loader that is not used here.
_QUANTIZED = frozenset({"F8_E4M3", "F8_E5M2", "I8", "U8", "F4"})
#: Names of the pipelines that inpaint from a picture, a mask and a prompt alone: the families of diffusers' auto class,
#: and Flux Fill. ControlNets need one more picture. IF and Kandinsky consist of several pipelines in sequence.
_PAINTS = re.compile(r"(?:StableDiffusion(?:XL|3)?(?:PAG)?|Flux|QwenImage(?:Edit)?|ZImage)(?:Inpaint|Fill)?Pipeline")
#: Text-to-image pipelines, each with its variant that was trained to inpaint.
_USE_INSTEAD = {"FluxPipeline": "FLUX.1-Fill-dev"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """The result of an inspection.

    It has the name of the pipeline's class, the total of the numbers in its weights, the name of its denoiser's part,
    and the problems.
    """

    pipeline: str
    numbers: int
    denoiser: str
    problems: tuple[str, ...]


def examine(folder: Path, variant: str = "") -> Examined:
    """Inspect a pipeline's folder; problems are sentences that name the file and the fix.

    ``variant`` is the variant of the weight files, such as "fp16".
    """
    index_file = folder / INDEX
    if not index_file.is_file():
        return Examined(pipeline="", numbers=0, denoiser="", problems=(_no_index(folder),))
    index = json_object(index_file)
    if index is None:
        return _bad(_unreadable(index_file))
    pipeline = str(index.get("_class_name", ""))
    problems = list(kind_problems(folder))
    numbers = 0
    parts = _parts(index)
    for part in parts:
        if _WITHOUT_WEIGHTS.search(part):
            if "safety" in part:
                continue  # never loaded
            if not (folder / part).is_dir():
                problems.append(f"{folder} lacks its part {part!r}; download the weights again")
            else:
                problems += _configuration_problems(folder / part)
            continue
        files, part_problems = _part(folder / part, variant)
        problems += part_problems
        numbers += sum(contents.numbers for contents in files)
    denoiser = next((name for name in ("unet", "transformer") if name in parts), "")
    return Examined(pipeline=pipeline, numbers=numbers, denoiser=denoiser, problems=tuple(dict.fromkeys(problems)))


def numbers_in(folder: Path, variant: str = "") -> int:
    """Return the total of the numbers in the weight files of a part's folder; an unreadable file counts as empty."""
    return sum(contents.numbers for contents in _part(folder, variant)[0])


def broken_off(folder: Path) -> bool:
    """Return whether files of a download are missing; ``examine`` finds other problems."""
    if not (folder / INDEX).is_file():
        return True
    for part in _parts(json_object(folder / INDEX) or {}):
        home = folder / part
        if not home.is_dir() or _lacking(home):
            return True
        names = {path.name for path in home.iterdir() if path.is_file()}
        if not _WITHOUT_WEIGHTS.search(part) and not any(_FILE.match(name) for name in names):
            return True
        for index in home.glob("*.safetensors.index*.json"):
            if not (_shards(index) or set()) <= names:
                return True
    return False


def digest_of(folder: Path, kept: Path) -> str:
    """Return the SHA-256 (hex) over the names and contents of a pipeline's files.

    Reading gigabytes takes seconds. The digests of single files are therefore stored in the file ``kept``, and used for
    files whose size and modification time have not changed.

    Raises:
        EngineError: the folder of ``kept`` cannot be written.
    """
    # if the file is missing or damaged, every file is read again
    known: dict[str, str] = json_object(kept) or {}
    total = hashlib.sha256()
    marks: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".json", ".txt", ".model")):
        facts = path.stat()
        mark = f"{path.absolute()} {facts.st_size} {facts.st_mtime_ns}"
        if mark not in known:
            with path.open("rb") as file:
                known[mark] = hashlib.file_digest(file, "sha256").hexdigest()
        marks[mark] = known[mark]
        total.update(f"{path.relative_to(folder).as_posix()} {known[mark]}\n".encode())
    with kept_in(kept.parent):
        kept.parent.mkdir(parents=True, exist_ok=True)
        # a unique name, because workers that start together write the same digests
        draft = kept.with_name(f".{kept.name}.{secrets.token_hex(8)}")
        draft.write_text(json.dumps(marks))
        draft.replace(kept)
    return total.hexdigest()


def _parts(index: dict[str, Any]) -> list[str]:
    """Return the names of the parts that a pipeline's index lists and that it includes."""
    return sorted(
        name for name, kind in index.items() if not name.startswith("_") and isinstance(kind, list) and any(kind)
    )


def _unreadable(file: Path) -> str:
    return f"{file} cannot be read; download the weights again"


def _configuration_names(home: Path) -> tuple[str, ...]:
    return next(names for prefix, names in _CONFIGURATIONS.items() if home.name.startswith(prefix))


def _configurations(home: Path) -> list[Path]:
    """Return the configuration files in a part's folder."""
    return sorted(path for name in _configuration_names(home) for path in home.glob(name) if path.is_file())


def _lacking(home: Path) -> str:
    """Return the name of the missing configuration file in a part's folder; empty if none is missing."""
    present = {path.name for path in _configurations(home)}
    if not present:
        return " or ".join(_configuration_names(home))
    # a vocabulary alone does not define the tokenization
    return "merges.txt" if present == {"vocab.json"} and not (home / "merges.txt").is_file() else ""


def _configuration_problems(home: Path) -> list[str]:
    """Return the problems of a part's configuration files."""
    if lacking := _lacking(home):
        return [f"{home} holds no {lacking}; the download was broken off, start it again"]
    files = _configurations(home)
    return [_unreadable(file) for file in files if file.suffix == ".json" and json_object(file) is None]


def _shards(index: Path) -> set[str] | None:
    """Return the names of the files that an index of shards lists; None if the index is unreadable."""
    weight_map = (json_object(index) or {}).get("weight_map")
    return {str(name) for name in weight_map.values()} if isinstance(weight_map, dict) else None


def _bad(sentence: str) -> Examined:
    return Examined(pipeline="", numbers=0, denoiser="", problems=(sentence,))


def _no_index(folder: Path) -> str:
    if any(folder.glob("*.safetensors")) or any(folder.glob("*.ckpt")):
        return (
            f"{folder} holds a single-file checkpoint, not a pipeline's folder. Convert it once with diffusers: "
            "StableDiffusionInpaintPipeline.from_single_file(FILE).save_pretrained(FOLDER)"
        )
    return f"{folder} has no model_index.json: it is not a pipeline's folder, or its download was broken off"


def kind_problems(folder: Path) -> Iterator[str]:
    """Yield the problems that prevent a pipeline of this kind from inpainting; read only its configurations.

    A model that was not trained to inpaint does not take the mask as an input, and ignores it.
    """
    index = json_object(folder / INDEX)
    if index is None:
        yield _unreadable(folder / INDEX)
        return
    pipeline = str(index.get("_class_name", ""))
    if not _PAINTS.fullmatch(pipeline):
        yield (
            f"{folder} is a {pipeline or 'pipeline without a name'}, which does not paint from a picture, a mask and a "
            "sentence. Set “diffusion.weights” to an inpainting model of SD 1.5, SD 2, SDXL, SD 3, Flux Fill, "
            "Qwen-Image or Z-Image"
        )
    elif pipeline in _USE_INSTEAD:
        yield (
            f"{folder} is a text-to-image model ({pipeline}). Set “diffusion.weights” to its inpainting kind, "
            f"{_USE_INSTEAD[pipeline]}"
        )
    for part in ("unet", "transformer"):
        config = folder / part / "config.json"
        if not config.is_file():
            continue
        body = json_object(config) or {}
        try:
            inputs, outputs = int(body["in_channels"]), int(body.get("out_channels") or body["in_channels"])
        except (ValueError, KeyError, TypeError):
            if part == "unet" or pipeline == "FluxFillPipeline":
                yield _unreadable(config)
            continue
        if part == "unet" and inputs == 4:
            yield (
                f"{folder} is a text-to-image model ({pipeline}: its UNet takes 4 channels, one for inpainting 9). "
                "Set “diffusion.weights” to the inpainting kind of it"
            )
        elif part == "unet" and inputs != 9:
            yield f"{folder} has a UNet of {inputs} channels; inpainting takes 9. Choose other weights"
        elif pipeline == "FluxFillPipeline" and inputs == outputs:
            yield (
                f"{folder} is called a FluxFillPipeline, but its transformer is that of a text-to-image model (it "
                f"takes {inputs} channels and gives as many). Set “diffusion.weights” to FLUX.1-Fill-dev"
            )


def _part(folder: Path, variant: str) -> tuple[list[Contents], list[str]]:
    """Return the contents of the weight files of ``variant`` in a part's folder, and the problems of the part."""
    if not folder.is_dir():
        return [], [f"{folder} is missing; download the weights again"]
    wanted, others, pickled, incomplete = _files(folder, variant)
    problems = [*_configuration_problems(folder), *incomplete]
    if not wanted and not incomplete:
        if others:
            problems.append(
                f"{folder} has its weights as {', '.join(sorted(others))} only; set “diffusion.variant” to "
                f"{sorted(others)[0]!r}"
                if "" not in others
                else f"{folder} has no {variant!r} files; clear “diffusion.variant”"
            )
        elif pickled:
            problems.append(
                f"{folder} has its weights in a pickle (.bin) only, which can run code when it is read; "
                "use weights that are stored as .safetensors"
            )
        else:
            problems.append(f"{folder} holds no weights; the download was broken off, start it again")
    contents: list[Contents] = []
    for path in wanted:
        try:
            header = read_contents(path)
        except Broken as error:
            problems.append(f"{path} {error}")
            continue
        contents.append(header)
        if any(".base_layer." in name for name in header.names):
            problems.append(
                f"{path} was saved with a LoRA loaded: its layers would be filled at random. "
                "Save it again after fuse_lora() and unload_lora_weights()"
            )
        if kinds := header.kinds & _QUANTIZED:
            problems.append(
                f"{path} is stored as {', '.join(sorted(kinds))}, which is not loaded plainly; use weights stored as "
                "float16, bfloat16 or float32"
            )
    return contents, problems


def _files(folder: Path, variant: str) -> tuple[list[Path], set[str], bool, list[str]]:
    """Return a part's weight files, the other variants, whether there are pickles, and the problems.

    The weight files are those of ``variant``. The problems are missing files and unreadable indices.
    """
    wanted: list[Path] = []
    others: set[str] = set()
    pickled = False
    for path in sorted(folder.iterdir()):
        if not (match := _FILE.match(path.name)):
            continue
        file_variant = match["before"] or match["after"] or ""
        if match["kind"] == "bin":
            pickled = True
        elif file_variant != variant:
            others.add(file_variant)
        elif path.is_file():
            wanted.append(path)
    missing: set[str] = set()
    problems: list[str] = []
    index_name = f"*.safetensors.index{'.' + variant if variant else ''}.json"
    for index in folder.glob(index_name):
        if (named_shards := _shards(index)) is None:
            problems.append(_unreadable(index))
        else:
            missing |= {name for name in named_shards if not (folder / name).is_file()}
    # a link into the hub's cache whose target is missing
    missing |= {path.name for path in folder.glob("*.safetensors") if path.is_symlink() and not path.exists()}
    problems += [f"{folder / name} is missing; the download was broken off, start it again" for name in sorted(missing)]
    return wanted, others, pickled, problems
