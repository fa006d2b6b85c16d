"""Finding one sample with all that it was made from: in the installation's rows, or in an export."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import ColumnElement, and_, select

from datagen.domain.spec import Spec
from datagen.errors import InputProblem, Refused
from datagen.export import manifest
from datagen.imaging.provenance_mark import read_mark
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import Services
from datagen.workflow.studies.descriptions import describe_run, describe_specs

#: The name of a sample's files in an export, without suffix: the spec's first digits, and the index.
_FILE_STEM = re.compile(r"([0-9a-f]{8})_([0-9]{7,})")


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
    """What is known of the sample that is looked for; what is not known is empty."""

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
        InputProblem: the file has neither, or is too large.
        BadPicture: the file is no picture.
    """
    path = Path(item)
    stem = _FILE_STEM.fullmatch(path.name.partition(".")[0])
    by_name = {"spec_digest": stem[1], "index": int(stem[2])} if stem else {}
    if not path.is_file():
        return WantedSample(**by_name) if stem else WantedSample(key=item)  # type: ignore[arg-type]
    if path.stat().st_size > max_bytes:
        raise InputProblem(f"{path} has more than {max_bytes:,} bytes, so it is no image of a sample")
    data = path.read_bytes()
    mark = read_mark(data)
    if mark is not None:
        return WantedSample(spec_digest=mark.spec_digest, index=mark.index, file=data, file_name=path.name)
    if stem is None:
        raise InputProblem(
            f"{path} has no mark of Datagen, and not the name of an exported image; name the sample's key, "
            "as its task in Label Studio shows it"
        )
    return WantedSample(**by_name, file=data, file_name=path.name)  # type: ignore[arg-type]


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
        line = manifest.line(
            sample,
            files={},
            areas=[0] * len(sample.instances),
            rings=[()] * len(sample.instances),
            provenance=manifest.provenance(sample, about),
        )
        return SampleRecord(
            name=sample.provenance.file_stem,
            study=batch.study.name,
            line=json.loads(line),
            spec=Spec.from_json(batch.spec.body),
            specs=tuple(describe_specs(session, [batch.spec])),
            batch=f"{kind} {batch.number} ({batch.name})",
            image=lambda: services.images.get(sample.image.digest),
            mask=lambda: services.images.get(sample.mask.digest),
        )


def exported_record(export: Path, wanted: WantedSample) -> SampleRecord:
    """Return a sample of an export, which is a zip or a folder.

    Raises:
        InputProblem: it is no export, has no such sample, or was made before exports contained specs.
    """
    if wanted.key:
        raise InputProblem(f"an export does not know the key {wanted.key}; give an image file of it, or its name there")
    files = _ExportFiles(export)
    line = next((line for line in files.lines("manifest.jsonl") if _is_wanted(line, wanted)), None)
    if line is None:
        raise InputProblem(f"{export} has no sample {wanted}; give the export that it is in")
    provenance = line["provenance"]
    name = f"{provenance['spec_digest'][:8]}_{provenance['index']:07d}"
    by_digest = {spec["digest"]: spec for spec in files.lines("specs.jsonl")}
    specs, digest = [], provenance["spec_digest"]
    while digest in by_digest:
        specs.append(by_digest.pop(digest))
        digest = specs[-1]["parent"]
    if not specs:
        raise InputProblem(f"{export} does not contain the spec of {name}; export the study again with this version")
    spec = Spec.from_json(specs[0]["spec"])
    if spec.digest != provenance["spec_digest"]:
        raise InputProblem(f"the spec of {name} in {export} is damaged: its checksum is {spec.digest}")
    named = {kind: line["files"].get(kind) for kind in ("image", "mask")}
    return SampleRecord(
        name=name,
        study=specs[0].get("study", ""),
        line=line,
        spec=spec,
        specs=tuple(specs),
        batch=f"run {provenance['run']} ({provenance['run_name']})",
        image=files.reader(named["image"]),
        mask=files.reader(named["mask"]),
    )


def _is_wanted(line: Mapping[str, Any], wanted: WantedSample) -> bool:
    provenance = line["provenance"]
    return bool(provenance["spec_digest"].startswith(wanted.spec_digest)) and provenance["index"] == wanted.index


class _ExportFiles:
    """The files of an export."""

    def __init__(self, export: Path) -> None:
        self._export = export
        if not export.is_dir() and not zipfile.is_zipfile(export):
            raise InputProblem(f"{export} is neither a folder nor a zip; name what datagen export wrote")

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of a file with one a line; none if there is no such file."""
        with ExitStack() as stack:
            try:
                file = self._open(name, stack)
            except (KeyError, FileNotFoundError):
                if name == "manifest.jsonl":
                    raise InputProblem(f"{self._export} has no {name}, so it is no export of Datagen") from None
                return
            for number, line in enumerate(file, start=1):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise InputProblem(f"line {number} of {name} in {self._export} is damaged") from None

    def reader(self, name: str | None) -> Callable[[], bytes] | None:
        """Return a function that reads a file; None for a file that the export does not have."""
        if name is None:
            return None
        path = name

        def read() -> bytes:
            with ExitStack() as stack:
                try:
                    return self._open(path, stack).read()
                except (KeyError, OSError) as missing:
                    raise InputProblem(f"{path} of {self._export} cannot be read: {missing}") from missing

        return read

    def _open(self, name: str, stack: ExitStack) -> IO[bytes]:
        if self._export.is_dir():
            path = (self._export / name).resolve()
            if not path.is_relative_to(self._export.resolve()):
                raise InputProblem(f"the manifest of {self._export} names {name}, which lies outside of it")
            return stack.enter_context(path.open("rb"))
        archive = stack.enter_context(zipfile.ZipFile(self._export))
        return stack.enter_context(archive.open(name))
