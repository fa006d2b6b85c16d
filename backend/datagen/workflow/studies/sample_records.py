"""Finding one sample with all that it was made from: in the installation's rows, or in an export."""

from __future__ import annotations

import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import ColumnElement, and_, select

from datagen.domain.sample import file_stem_of
from datagen.domain.spec import Spec
from datagen.errors import BadPicture, InputProblem, Refused
from datagen.export import manifest
from datagen.imaging.provenance_mark import read_mark
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import Services
from datagen.workflow.studies.descriptions import describe_run, describe_specs

#: The name of a sample's files in an export, without suffix: the spec's first digits, the index, a tile's place.
_FILE_STEM = re.compile(r"([0-9a-f]{8})_([0-9]{7,18})(?:_x[0-9]+_y[0-9]+)?")
#: Longest line of an export that is read, bytes. A spec with ten thousand inputs has a few million.
_LONGEST_LINE = 64 * 2**20
#: Largest number of specs that are read of an export.
_MAX_SPECS = 10_000
#: Errors of a zip that is damaged, encrypted, or compressed by an unknown method, and of a file that cannot be read.
_UNREADABLE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord:
    """One sample with its origin."""

    #: the name of its files without suffix
    name: str
    study: str
    #: the line of the manifest: sha256, width, height, instances, provenance
    line: Mapping[str, Any]
    spec: Spec
    #: its spec and the spec's ancestors, as ``describe_specs`` gives them
    specs: tuple[Mapping[str, Any], ...]
    #: the kind, number and name of its batch in words
    batch: str
    #: returns the stored image, or mask; None if only their checksums are known
    image: Callable[[], bytes] | None
    mask: Callable[[], bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSample:
    """The known properties of the wanted sample; unknown ones are empty."""

    key: str = ""
    spec_digest: str = ""
    index: int = -1
    #: the image file that was given, and its name
    file: bytes | None = None
    file_name: str = ""

    def __str__(self) -> str:
        named = self.key or f"image {self.index} of spec {self.spec_digest[:8]}…"
        return f"{self.file_name}, which is {named}," if self.file_name else named


def wanted_sample(item: str, max_bytes: int) -> WantedSample:
    """Return the sample that a key, the name of an exported file or an image file means.

    A file is recognized by the mark in it, else by its name in an export.

    Raises:
        InputProblem: the file has neither, cannot be read, or is too large.
        BadPicture: the file is no picture.
    """
    path = Path(item)
    stem = _FILE_STEM.fullmatch(path.name.partition(".")[0])
    by_name = {"spec_digest": stem[1], "index": int(stem[2])} if stem else {}
    data = _read_if_file(path, max_bytes)
    if data is None:
        return WantedSample(**by_name) if stem else WantedSample(key=item)  # type: ignore[arg-type]
    try:
        mark = read_mark(data)
    except BadPicture:
        if stem is None:
            raise
        mark = None  # the name of the file is left
    if mark is not None:
        return WantedSample(spec_digest=mark.spec_digest, index=mark.index, file=data, file_name=path.name)
    if stem is None:
        raise InputProblem(
            f"{path} has no mark of Datagen, and not the name of an exported image; name the sample's key, "
            "as its task in Label Studio shows it"
        )
    return WantedSample(**by_name, file=data, file_name=path.name)  # type: ignore[arg-type]


def _read_if_file(path: Path, max_bytes: int) -> bytes | None:
    """Return a file's bytes; None if there is no file of this path.

    Raises:
        InputProblem: the file cannot be read, or is too large.
    """
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > max_bytes:
            raise InputProblem(f"{path} has more than {max_bytes:,} bytes, so it is no image of a sample")
        return path.read_bytes()
    except OSError as refusal:
        raise InputProblem(f"{path} cannot be read: {refusal}; name a sample or a readable file") from refusal


def stored_record(services: Services, wanted: WantedSample) -> SampleRecord:
    """Return a sample of this installation.

    Raises:
        Refused: it has no such sample.
    """
    condition: ColumnElement[bool] = SampleRow.key == wanted.key
    if not wanted.key:
        condition = and_(SpecRow.digest.startswith(wanted.spec_digest), SampleRow.index == wanted.index)
    query = (
        select(SampleRow)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(condition)
        .order_by(SampleRow.id)
        .limit(1)
    )
    with services.database.read() as session:
        row = session.scalar(query)
        if row is None:
            raise Refused(
                f"this installation has no sample {wanted}; check the name, or name the export that has it with --from"
            )
        sample, batch = sample_of(row), row.batch
        kind = "preview round" if batch.kind == BatchKind.ROUND else str(batch.kind)
        about = {"runs": [describe_run(batch)]}
        line = {
            "sha256": {"image": sample.image.digest, "mask": sample.mask.digest},
            "width": sample.image.width,
            "height": sample.image.height,
            "instances": manifest.instances(sample, [0] * len(sample.instances), [()] * len(sample.instances)),
            "provenance": manifest.provenance(sample, about),
        }
        return SampleRecord(
            name=sample.provenance.file_stem,
            study=batch.study.name,
            line=line,
            spec=Spec.from_json(batch.spec.body),
            specs=tuple(describe_specs(session, [batch.spec])),
            batch=f"{kind} {batch.number} ({batch.name})",
            image=lambda: services.images.get(sample.image.digest),
            mask=lambda: services.images.get(sample.mask.digest),
        )


class _Background(BaseModel):
    name: str
    digest: str


class _Provenance(BaseModel):
    spec_digest: str
    index: int = Field(ge=0)
    seed: int
    engine: str
    engine_version: str
    background: _Background
    run: int | None = None
    run_name: str | None = None
    approved_by: str | None = None
    approved_at: str | None = None


class _Instance(BaseModel):
    label: str
    box: list[float] = Field(min_length=4, max_length=4)


class _Checksums(BaseModel):
    image: str
    mask: str


class _Tile(BaseModel):
    x: int = Field(ge=0)
    y: int = Field(ge=0)
    #: the numbers of the tile's instances in the whole image, from 1
    instances: list[int]


class _Line(BaseModel):
    """The parts of a manifest's line that are read."""

    files: dict[str, str]
    sha256: _Checksums
    instances: list[_Instance]
    tile: _Tile | None = None
    provenance: _Provenance


class _SpecLine(BaseModel):
    """The parts of a line of specs.jsonl that are read, beside the spec."""

    digest: str
    parent: str | None
    study: str = ""
    version: int
    notes: list[str]
    created_by: str
    created_at: str
    decided_by: str | None
    decided_at: str | None


def exported_record(export: Path, wanted: WantedSample, max_bytes: int) -> SampleRecord:
    """Return a sample of an export, which is a zip or a folder. Its files may come from anyone.

    Args:
        export: the zip or the folder.
        wanted: the sample.
        max_bytes: the largest image or mask that is read, in bytes.

    Raises:
        InputProblem: it is no export, is damaged, has no such sample, or was made before exports contained specs.
    """
    if wanted.key:
        raise InputProblem(f"an export does not know the key {wanted.key}; give an image file of it, or its name there")
    files = _ExportFiles(export, max_bytes)
    line = next((line for line in files.lines("manifest.jsonl") if _is_wanted(line, wanted)), None)
    if line is None:
        raise InputProblem(f"{export} has no sample {wanted}; give the export that it is in")
    _check(_Line, line, f"the line of sample {wanted} in the manifest of {export}")
    provenance = line["provenance"]
    name = file_stem_of(provenance["spec_digest"], provenance["index"])
    specs, body = _specs(files, export, provenance["spec_digest"])
    if not specs:
        raise InputProblem(f"{export} does not contain the spec of {name}; export the study again with this version")
    try:
        spec = Spec.from_json(body)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise InputProblem(f"the spec of {name} in {export} is damaged; export the study again") from None
    if spec.digest != provenance["spec_digest"]:
        raise InputProblem(f"the spec of {name} in {export} is damaged: its checksum is {spec.digest}")
    named = {kind: line["files"].get(kind) for kind in ("image", "mask")}
    return SampleRecord(
        name=name,
        study=specs[0].get("study", ""),
        line=line,
        spec=spec,
        specs=tuple(specs),
        batch=f"run {provenance.get('run')} ({provenance.get('run_name')})",
        # a tile, or an image in a lossy encoding, is not what was rendered: its checksum alone is
        image=files.reader(named["image"]) if line.get("encoding") is None and line.get("tile") is None else None,
        mask=files.reader(named["mask"]) if line.get("tile") is None else None,
    )


def _is_wanted(line: Mapping[str, Any], wanted: WantedSample) -> bool:
    provenance = line.get("provenance")
    return (
        isinstance(provenance, Mapping)
        and provenance.get("index") == wanted.index
        and str(provenance.get("spec_digest")).startswith(wanted.spec_digest)
    )


def _specs(files: _ExportFiles, export: Path, digest: str) -> tuple[list[dict[str, Any]], Any]:
    """Return the descriptions of a spec and its ancestors in an export, and the body of the spec; only it is kept.

    Raises:
        InputProblem: a line is damaged, or there are too many.
    """
    body: Any = None
    by_digest: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(files.lines("specs.jsonl"), start=1):
        if number > _MAX_SPECS:
            raise InputProblem(f"{export} has more than {_MAX_SPECS:,} specs, so it is no export of Datagen")
        _check(_SpecLine, line, f"line {number} of specs.jsonl in {export}")
        spec = line.pop("spec", None)
        if line["digest"] == digest:
            body = spec
        by_digest[line["digest"]] = line
    specs = []
    next_digest: str | None = digest
    while next_digest in by_digest:
        specs.append(by_digest.pop(next_digest))
        next_digest = specs[-1]["parent"]
    return specs, body


def _check(model: type[BaseModel], line: Mapping[str, Any], called: str) -> None:
    """Check the values that are read of a line.

    Raises:
        InputProblem: one is missing or of another type; the sentence names it.
    """
    try:
        model.model_validate(line, strict=True)
    except ValidationError as wrong:
        place = ".".join(str(part) for part in wrong.errors()[0]["loc"])
        raise InputProblem(f"{called} is damaged at {place}; export the study again") from None


class _ExportFiles:
    """The files of an export."""

    def __init__(self, export: Path, max_bytes: int) -> None:
        self._export, self._max_bytes = export, max_bytes
        try:
            self._is_folder = export.is_dir()
        except OSError as refusal:
            raise InputProblem(f"{export} cannot be read: {refusal}; name what datagen export wrote") from refusal
        if not self._is_folder and not zipfile.is_zipfile(export):
            raise InputProblem(f"{export} is neither a folder nor a zip; name what datagen export wrote")

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of a file with one a line; none if there is no such file.

        Raises:
            InputProblem: a line is damaged or too long, the file cannot be read, or there is no manifest.
        """
        with ExitStack() as stack:
            try:
                file = self._open(name, stack)
            except (KeyError, FileNotFoundError):
                if name == "manifest.jsonl":
                    raise InputProblem(f"{self._export} has no {name}, so it is no export of Datagen") from None
                return
            for number in count(1):
                line = self._read(name, _LONGEST_LINE, file.readline)
                if not line:
                    return
                try:
                    body = json.loads(line)
                except (ValueError, RecursionError):
                    body = None
                if not isinstance(body, dict):
                    raise InputProblem(f"line {number} of {name} in {self._export} is damaged; export the study again")
                yield body

    def reader(self, name: str | None) -> Callable[[], bytes] | None:
        """Return a function that reads a file; None for a file that the export does not have."""
        if name is None:
            return None
        path = name

        def read() -> bytes:
            with ExitStack() as stack:
                try:
                    file = self._open(path, stack)
                except (KeyError, FileNotFoundError):
                    raise InputProblem(f"{self._export} has no {path}, which its manifest names") from None
                return self._read(path, self._max_bytes, file.read)

        return read

    def _read(self, name: str, limit: int, read: Callable[[int], bytes]) -> bytes:
        """Return what ``read`` returns for a number of bytes, of which at most ``limit`` are accepted."""
        try:
            data = read(limit + 1)
        except _UNREADABLE as damage:
            raise self._unreadable(name, damage) from damage
        if len(data) > limit:
            raise InputProblem(
                f"{name} of {self._export} has more than {limit:,} bytes in one piece; name another export"
            )
        return data

    def _open(self, name: str, stack: ExitStack) -> IO[bytes]:
        try:
            if self._is_folder:
                path = (self._export / name).resolve()
                if not path.is_relative_to(self._export.resolve()):
                    raise InputProblem(f"the manifest of {self._export} names {name}, which lies outside of it")
                if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
                    raise InputProblem(f"{name} of {self._export} is no file; name what datagen export wrote")
                return stack.enter_context(path.open("rb"))
            archive = stack.enter_context(zipfile.ZipFile(self._export))
            return stack.enter_context(archive.open(name))
        except FileNotFoundError:
            raise
        except (*_UNREADABLE, ValueError) as damage:  # ValueError: a name with a NUL
            raise self._unreadable(name, damage) from damage

    def _unreadable(self, name: str, damage: Exception) -> InputProblem:
        return InputProblem(f"{name} of {self._export} cannot be read: {damage}; name an undamaged export")
