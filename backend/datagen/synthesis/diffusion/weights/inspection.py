"""A pipeline's folder, looked at from outside: is all of it there, can it inpaint, is it what it says. No torch here.

Loading a broken folder fails late, on a GPU, with a message about tensors. These checks read names and headers only, so
they take milliseconds and can be made by any process before work is queued.
"""

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
from datagen.synthesis.diffusion.runtime.safetensors_header import Broken, Contents, read_contents

#: The file that says what a pipeline consists of.
INDEX = "model_index.json"
#: Parts of a pipeline that hold no weights of their own, or that are never loaded.
_WITHOUT_WEIGHTS = re.compile(r"scheduler|tokenizer|feature_extractor|image_processor|safety_checker|processor")
#: The file that says how a part is made, by how the part's name begins; any one of them is enough.
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
#: Kinds of numbers that need a quantizing loader; the pipelines are loaded plainly.
_QUANTIZED = frozenset({"F8_E4M3", "F8_E5M2", "I8", "U8", "F4"})
#: The pipelines that paint from a picture, a mask and a sentence alone: the families that diffusers' auto class knows,
#: and Flux Fill. ControlNets want one picture more; IF and Kandinsky are several pipelines, one after the other.
_PAINTS = re.compile(r"(?:StableDiffusion(?:XL|3)?(?:PAG)?|Flux|QwenImage(?:Edit)?|ZImage)(?:Inpaint|Fill)?Pipeline")
#: Text-to-image pipelines of which a kind exists that was trained to inpaint.
_USE_INSTEAD = {"FluxPipeline": "FLUX.1-Fill-dev"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found in a folder: the pipeline's class, how many numbers it has, and what is wrong with it."""

    pipeline: str
    numbers: int
    denoiser: str
    problems: tuple[str, ...]


def looks_like_hub_id(weights: str) -> bool:
    """Whether the text can be "owner/name", and not only a path."""
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", weights)) and not weights.startswith((".", "~"))


def examine(folder: Path, variant: str = "") -> Examined:
    """Look at a pipeline's folder; problems are sentences that name the file and the fix."""
    index_file = folder / INDEX
    if not index_file.is_file():
        return Examined(pipeline="", numbers=0, denoiser="", problems=(_no_index(folder),))
    index = _mapping(index_file)
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
        found, said = _part(folder / part, variant)
        problems += said
        numbers += sum(contents.numbers for contents in found)
    denoiser = next((name for name in ("unet", "transformer") if name in parts), "")
    return Examined(pipeline=pipeline, numbers=numbers, denoiser=denoiser, problems=tuple(dict.fromkeys(problems)))


def numbers_in(folder: Path, variant: str = "") -> int:
    """How many numbers the weight files of one part of a pipeline hold; those that cannot be read hold none."""
    return sum(contents.numbers for contents in _part(folder, variant)[0])


def broken_off(folder: Path) -> bool:
    """Whether a download left parts out; what it did fetch may be wrong in other ways (``examine``)."""
    if not (folder / INDEX).is_file():
        return True
    for part in _parts(_mapping(folder / INDEX) or {}):
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
    """SHA-256 (hex) over the names and contents of a pipeline's files.

    Reading gigabytes takes seconds, so the digests of unchanged files (by size and time of change) are kept in the
    file ``kept``.

    Raises:
        EngineError: the folder of ``kept`` cannot be written.
    """
    # nothing kept yet, or by a writer that was killed: read everything again
    known: dict[str, str] = _mapping(kept) or {}
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
        # a name of its own: workers that start together write the same digests
        draft = kept.with_name(f".{kept.name}.{secrets.token_hex(8)}")
        draft.write_text(json.dumps(marks))
        draft.replace(kept)
    return total.hexdigest()


def _parts(index: dict[str, Any]) -> list[str]:
    """The names of a pipeline's parts that are not left out."""
    return sorted(
        name for name, kind in index.items() if not name.startswith("_") and isinstance(kind, list) and any(kind)
    )


def _mapping(file: Path) -> dict[str, Any] | None:
    """What a JSON file says; None where it cannot be read, or is cut off, or says something else than names."""
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) else None


def _unreadable(file: Path) -> str:
    return f"{file} cannot be read; download the weights again"


def _named(home: Path) -> tuple[str, ...]:
    return next(names for begins, names in _CONFIGURATIONS.items() if home.name.startswith(begins))


def _configurations(home: Path) -> list[Path]:
    """The files of a part's folder that say how it is made."""
    return sorted(path for name in _named(home) for path in home.glob(name) if path.is_file())


def _lacking(home: Path) -> str:
    """The file that a part's folder lacks to say how the part is made; empty where none is."""
    found = {path.name for path in _configurations(home)}
    if not found:
        return " or ".join(_named(home))
    # words alone do not say how letters become them
    return "merges.txt" if found == {"vocab.json"} and not (home / "merges.txt").is_file() else ""


def _configuration_problems(home: Path) -> list[str]:
    """What is wrong with what says how a part is made."""
    if lacking := _lacking(home):
        return [f"{home} holds no {lacking}; the download was broken off, start it again"]
    found = _configurations(home)
    return [_unreadable(file) for file in found if file.suffix == ".json" and _mapping(file) is None]


def _shards(index: Path) -> set[str] | None:
    """The files that an index of shards names; None where it cannot be read."""
    named = (_mapping(index) or {}).get("weight_map")
    return {str(name) for name in named.values()} if isinstance(named, dict) else None


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
    """What stands against painting with a folder's kind of pipeline; read off its configurations alone.

    A model that was not trained to inpaint does not see the mask, and paints over it as it likes.
    """
    index = _mapping(folder / INDEX)
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
        body = _mapping(config) or {}
        try:
            takes, gives = int(body["in_channels"]), int(body.get("out_channels") or body["in_channels"])
        except (ValueError, KeyError, TypeError):
            if part == "unet" or pipeline == "FluxFillPipeline":
                yield _unreadable(config)
            continue
        if part == "unet" and takes == 4:
            yield (
                f"{folder} is a text-to-image model ({pipeline}: its UNet takes 4 channels, one for inpainting 9). "
                "Set “diffusion.weights” to the inpainting kind of it"
            )
        elif part == "unet" and takes != 9:
            yield f"{folder} has a UNet of {takes} channels; inpainting takes 9. Choose other weights"
        elif pipeline == "FluxFillPipeline" and takes == gives:
            yield (
                f"{folder} is called a FluxFillPipeline, but its transformer is that of a text-to-image model (it "
                f"takes {takes} channels and gives as many). Set “diffusion.weights” to FLUX.1-Fill-dev"
            )


def _part(folder: Path, variant: str) -> tuple[list[Contents], list[str]]:
    """The contents of one part's weight files, and what is wrong with them."""
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
            found = read_contents(path)
        except Broken as why:
            problems.append(f"{path} {why}")
            continue
        contents.append(found)
        if any(".base_layer." in name for name in found.names):
            problems.append(
                f"{path} was saved with a LoRA loaded: its layers would be filled at random. "
                "Save it again after fuse_lora() and unload_lora_weights()"
            )
        if kinds := found.kinds & _QUANTIZED:
            problems.append(
                f"{path} is stored as {', '.join(sorted(kinds))}, which is not loaded plainly; use weights stored as "
                "float16, bfloat16 or float32"
            )
    return contents, problems


def _files(folder: Path, variant: str) -> tuple[list[Path], set[str], bool, list[str]]:
    """Weight files of the variant; the variants of others; whether there is a pickle; what of them is not there."""
    wanted: list[Path] = []
    others: set[str] = set()
    pickled = False
    for path in sorted(folder.iterdir()):
        if not (named := _FILE.match(path.name)):
            continue
        own = named["before"] or named["after"] or ""
        if named["kind"] == "bin":
            pickled = True
        elif own != variant:
            others.add(own)
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
    # a link into the hub's cache whose target never arrived
    missing |= {path.name for path in folder.glob("*.safetensors") if path.is_symlink() and not path.exists()}
    problems += [f"{folder / name} is missing; the download was broken off, start it again" for name in sorted(missing)]
    return wanted, others, pickled, problems
