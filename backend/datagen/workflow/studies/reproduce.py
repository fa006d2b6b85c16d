"""Rendering a sample again from its spec and inputs, comparing it, and stating where it comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datagen.domain.inputs import ImageRef
from datagen.domain.wording import counted
from datagen.errors import EngineError, InputProblem
from datagen.imaging.codec import Pixels
from datagen.synthesis.engine import EngineSettings, Picture, Pictures, Rendered, engine_class, load_engine
from datagen.workflow.generation.picture_cache import picture_lru
from datagen.workflow.generation.sample_files import encode_sample
from datagen.workflow.studies.sample_records import SampleRecord, WantedSample

#: Longest line of the parameters, characters.
_LONGEST_PARAMETERS = 2_000


class Decoder(Protocol):
    """Decodes pictures from outside, as ``imaging.decoder_sandbox`` does."""

    def decode(self, data: bytes) -> Pixels:
        """Return the pixels."""
        ...


class Match(StrEnum):
    """The degree to which two files are equal."""

    BYTES = "the same bytes"
    PIXELS = "the same pixels in other bytes"
    DIFFERENT = "other pixels"
    UNKNOWN = "other bytes, and no file to compare the pixels with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The subject of a comparison, its result, and a detail in words; "" if there is none."""

    subject: str
    match: Match
    detail: str = ""

    @property
    def is_same(self) -> bool:
        """Whether the pixels are the same."""
        return self.match in (Match.BYTES, Match.PIXELS)

    def __str__(self) -> str:
        return f"{self.subject}: {self.match}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A sample rendered again."""

    name: str
    #: the image and the mask with the stored ones, then the given file with the image
    comparisons: tuple[Comparison, ...]
    #: where the sample comes from, as sentences
    origin: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether image and mask have the pixels that they had."""
        return all(comparison.is_same for comparison in self.comparisons[:2])


def reproduce(
    record: SampleRecord,
    wanted: WantedSample,
    *,
    pictures: Pictures,
    decoder: Decoder,
    engine_settings: EngineSettings,
    progress: Callable[[float, str], None] = lambda _fraction, _step: None,
) -> Reproduction:
    """Render a sample again and compare it.

    Args:
        record: the sample, with its spec.
        wanted: the request; its ``file`` is compared too.
        pictures: source of the inputs' pixels.
        decoder: decodes the files that are compared.
        engine_settings: the settings of the engine.
        progress: called during the fit.

    Raises:
        EngineError: the engine is not installed, or cannot render the spec here.
        StoreError, InputProblem: an input is missing.
    """
    index = record.line["provenance"]["index"]
    # a new fit: a kept one would not show whether a fit of these inputs still gives the same pixels
    engine = load_engine(record.spec.engine, replace(engine_settings, shares_fits=False))
    fitted = engine.fit(record.spec, pictures, progress)
    rendered = next(iter(fitted.render([index])))
    image, mask = encode_sample(rendered)
    sha256 = record.line["sha256"]
    comparisons = [
        _compared("image", image, rendered.image, sha256["image"], record.image, decoder),
        _compared("mask", mask, rendered.mask, sha256["mask"], record.mask, decoder),
    ]
    if wanted.file is not None:
        given = wanted.file
        digest = hashlib.sha256(given).hexdigest()
        comparisons.append(_compared(wanted.file_name, image, rendered.image, digest, lambda: given, decoder))
    return Reproduction(name=record.name, comparisons=tuple(comparisons), origin=tuple(_origin(record, rendered)))


class FolderPictures:
    """Inputs in a folder, at any depth, recognized by their SHA-256."""

    def __init__(self, folder: Path, decoder: Decoder, max_bytes: int) -> None:
        self._folder, self._decoder, self._max_bytes = folder, decoder, max_bytes
        self._paths: dict[str, Path] | None = None
        self._decoded = picture_lru()

    def load(self, ref: ImageRef) -> Picture:
        """Return a picture's pixels.

        Raises:
            InputProblem: no file of the folder is this picture.
            BadPicture: it does not decode.
        """
        picture = self._decoded.get(ref.digest)
        if picture is None:
            picture = self._decoded[ref.digest] = self._decoder.decode(self._bytes(ref))
        return picture

    def _bytes(self, ref: ImageRef) -> bytes:
        if self._paths is None:
            self._paths = dict(self._files())
        path = self._paths.get(ref.digest)
        if path is None:
            raise InputProblem(
                f"no file in {self._folder} is the input {ref.name} (SHA-256 {ref.digest}); add it there unchanged"
            )
        return path.read_bytes()

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Yield the SHA-256 and the path of each file that may be an input."""
        for path in sorted(self._folder.rglob("*")):
            # a file that cannot be read is no input; if it should be one, the error names the input
            with suppress(OSError):
                if path.is_file() and path.stat().st_size <= self._max_bytes:
                    with path.open("rb") as file:
                        yield hashlib.file_digest(file, "sha256").hexdigest(), path


def _compared(
    subject: str, again: bytes, pixels: Picture, digest: str, stored: Callable[[], bytes] | None, decoder: Decoder
) -> Comparison:
    """Compare a file rendered again with one of this digest, whose bytes ``stored`` returns."""
    if hashlib.sha256(again).hexdigest() == digest:
        return Comparison(subject=subject, match=Match.BYTES)
    if stored is None:
        return Comparison(subject=subject, match=Match.UNKNOWN)
    before = decoder.decode(stored())
    if before.shape != pixels.shape or before.dtype != pixels.dtype:
        return Comparison(subject=subject, match=Match.DIFFERENT, detail="it has another size or kind of pixels")
    if np.array_equal(before, pixels):
        return Comparison(subject=subject, match=Match.PIXELS)
    difference = np.abs(before.astype(np.int64) - pixels)
    changed = int(np.count_nonzero(difference.reshape(*difference.shape[:2], -1).any(axis=2)))
    return Comparison(
        subject=subject,
        match=Match.DIFFERENT,
        detail=f"{changed:,} of {before.shape[0] * before.shape[1]:,} differ, by {difference.mean():.2f} on average "
        f"and {difference.max()} at most",
    )


def _origin(record: SampleRecord, rendered: Rendered) -> Iterator[str]:
    provenance: Mapping[str, Any] = record.line["provenance"]
    spec = record.specs[0]
    of_study = f" of “{record.study}”" if record.study else ""
    version = f"version {spec['version']}{of_study}"
    yield f"Sample {record.name}: image {provenance['index']} of {version}, in {record.batch}."
    if provenance.get("approved_by"):
        yield f"Asked for by {provenance['approved_by']} at {provenance['approved_at']}."
    yield (
        f"Rendered by {provenance['engine']} {provenance['engine_version']} with seed {provenance['seed']}, "
        f"spec {provenance['spec_digest']}; rendered again by version {_installed(provenance['engine'])}."
    )
    background = provenance["background"]
    yield f"Background: {background['name']} (SHA-256 {background['digest']})."
    traces = rendered.provenance.trace.instances
    tile = record.line.get("tile")
    in_tile = f" of the tile at {tile['x']}, {tile['y']}" if tile else ""
    numbers = [number - 1 for number in tile["instances"]] if tile else range(len(record.line["instances"]))
    for i, instance in zip(numbers, record.line["instances"], strict=False):
        x, y, width, height = instance["box"]
        words = [f"Object {i + 1}: {instance['label']}, {width:g} by {height:g} pixels at {x:g}, {y:g}{in_tile}"]
        if 0 <= i < len(traces):
            body = traces[i].to_json()
            if traces[i].concept is not None:
                words.append(f"from {body.pop('concept_name')} ({body.pop('concept')})")
            words += [f"{name} {_short(value)}" for name, value in body.items() if name != "label"]
        yield f"{'; '.join(words)}."
    for name, digest in rendered.provenance.trace.files.items():
        yield f"Used file {name}: {f'SHA-256 {digest}' if digest else 'none'}."
    yield f"Parameters: {json.dumps(dict(record.spec.parameters), ensure_ascii=False)[:_LONGEST_PARAMETERS]}"
    inputs = {
        "concept photo": [concept.image.name for concept in record.spec.concepts],
        "canvas photo": [canvas.image.name for canvas in record.spec.canvases],
    }
    for word, names in inputs.items():
        yield f"{counted(len(names), word)}: {', '.join(names)}."
    yield f"{counted(len(record.spec.backgrounds), 'background')}."
    for each in record.specs:
        decided = f", decided by {each['decided_by']} at {each['decided_at']}" if each["decided_by"] else ""
        notes = f": {'; '.join(each['notes']).rstrip('.')}" if each["notes"] else ""
        yield f"Version {each['version']} by {each['created_by']} at {each['created_at']}{decided}{notes}."


def _installed(engine: str) -> str:
    try:
        return engine_class(engine).version
    except EngineError:
        return "none, because it is not installed"


def _short(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:100]}…"
