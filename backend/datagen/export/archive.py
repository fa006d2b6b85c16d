"""A set of samples as one zip: images, masks, manifest and the formats asked for, checked on their way out.

Goes through the samples once and keeps none of them: what must be written last waits in temporary files. Only the zip's
own table of contents grows with the set, because the format wants it at the end.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Sample
from datagen.errors import InputProblem, StoreError
from datagen.export import coco, consistency_check, manifest, masks, readme, voc, yolo

#: What may be asked for beside images, masks and manifest.
FORMATS = ("coco", "yolo", "yolo-segment", "voc", "semantic")

#: Samples whose objects are read ahead: an object store answers in tens of milliseconds, but many at a time.
READ_AHEAD = 16

#: One date for every entry, the earliest a zip can tell: the same samples give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)

#: Unix permissions of every entry: a file that all may read.
_PERMISSIONS = 0o100644 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What was written."""

    samples: int
    instances: int
    #: instances by label, in the study's order; labels without any included
    by_label: Mapping[str, int]
    #: size of the zip
    size_bytes: int


def write_zip(
    path: Path,
    samples: Iterable[Sample],
    *,
    labels: Sequence[str],
    read: Callable[[str], bytes],
    about: Mapping[str, Any],
    formats: Collection[str] = ("coco",),
) -> Summary:
    """Write ``samples`` to the zip ``path``: beside it first, and renamed when all is well.

    Args:
        path: the file; one that is there already is replaced. Missing folders are made.
        samples: in any order; each once.
        labels: the study's, in order.
        read: gives a stored object's bytes by its digest, from any thread.
        about: JSON values that describe the whole; ``runs`` (spec_digest, first_index, number, name, approved_by,
            approved_at) ties each sample to the run that made it.
        formats: of ``FORMATS``.

    Raises:
        InputProblem: a format is unknown, or two exclude each other.
        StoreError: an object is missing or damaged, a label disagrees with its mask, a sample comes twice, or the file
            cannot be written. No file is left behind, and one that was there is as it was; folders that were
            missing are removed again.
    """
    _check_formats(formats, labels)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the file to write, e.g. {path / 'dataset.zip'}")
    with _folders_of(path):
        try:
            with draft.open("xb") as file:
                counts = _write(file, path.parent, samples, labels=labels, read=read, about=about, formats=formats)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            draft.replace(path)
        except OSError as refusal:
            raise _cannot_write(path, refusal) from refusal
        finally:
            draft.unlink(missing_ok=True)
    by_label = {label: counts.instances[label] for label in labels}
    return Summary(samples=counts.samples, instances=sum(by_label.values()), by_label=by_label, size_bytes=size)


@contextmanager
def _folders_of(path: Path) -> Iterator[None]:
    """Make the folders that a file lies in; those that were missing are removed again where the block fails.

    Raises:
        StoreError: they cannot be made.
    """
    missing = [folder for folder in path.parents if not folder.exists()]  # the innermost first
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as refusal:
            raise _cannot_write(path, refusal) from refusal
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # it was not made, or somebody else put something into it meanwhile
                folder.rmdir()
        raise


def _cannot_write(path: Path, refusal: OSError) -> StoreError:
    return StoreError(f"{path} cannot be written: {refusal}; choose another place, or make room")


@dataclass(slots=True)
class _Counts:
    samples: int
    instances: dict[str, int]


def _write(
    file: IO[bytes],
    folder: Path,
    samples: Iterable[Sample],
    *,
    labels: Sequence[str],
    read: Callable[[str], bytes],
    about: Mapping[str, Any],
    formats: Collection[str],
) -> _Counts:
    counts = _Counts(0, dict.fromkeys(labels, 0))
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(file, "w", zipfile.ZIP_STORED))
        lines, images, annotations = (
            stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)) for _ in range(3)
        )
        objects = stack.enter_context(closing(_objects(samples, read)))
        for sample, image_data, mask_data in objects:
            name = sample.provenance.file_stem
            files = {"image": f"images/{name}.png", "mask": f"masks/{name}.png"}
            if files["image"] in archive.NameToInfo:
                raise StoreError(f"sample {name} comes twice; export it once")
            _check_object(image_data, sample.image, f"image of sample {name}")
            _check_object(mask_data, sample.mask, f"mask of sample {name}")
            mask = masks.instance_mask(mask_data, name)
            areas = consistency_check.check(sample, name, mask, labels=labels)

            _add(archive, files["image"], image_data, packed=True)
            _add(archive, files["mask"], mask_data, packed=True)
            if "semantic" in formats:
                files["semantic"] = f"semantic/{name}.png"
                _add(archive, files["semantic"], masks.semantic_png(sample, mask, labels), packed=True)
            if "yolo" in formats:
                _add(archive, f"labels/{name}.txt", yolo.box_rows(sample, labels).encode())
            if "yolo-segment" in formats:
                _add(archive, f"labels/{name}.txt", yolo.polygon_rows(sample, labels, mask).encode())
            if "voc" in formats:
                _add(
                    archive,
                    f"Annotations/{name}.xml",
                    voc.annotation(sample, files["image"], channels=_channels(image_data)),
                )
            if "coco" in formats:
                number = counts.samples + 1
                first = sum(counts.instances.values()) + 1
                images.write(json.dumps(coco.image(number, files["image"], sample)) + "\n")
                entries = coco.instances(
                    sample, areas, mask=mask, image_number=number, first_number=first, labels=labels
                )
                for entry in entries:
                    annotations.write(json.dumps(entry) + "\n")
            lines.write(manifest.line(sample, files=files, areas=areas, about=about) + "\n")
            counts.samples += 1
            for instance in sample.instances:
                counts.instances[instance.label] += 1

        _add_pieces(archive, "manifest.jsonl", _read_back(lines))
        if "coco" in formats:
            listed = (line.rstrip("\n") for line in _read_back(images))
            drawn = (line.rstrip("\n") for line in _read_back(annotations))
            _add_pieces(archive, "coco.json", coco.document(about, labels, listed, drawn))
        if not {"yolo", "yolo-segment"}.isdisjoint(formats):
            _add(archive, "data.yaml", yolo.data_yaml(labels).encode())
        text = readme.text(about, images=counts.samples, instances=counts.instances, formats=formats)
        _add(archive, "README.txt", text.encode())
    return counts


def _objects(samples: Iterable[Sample], read: Callable[[str], bytes]) -> Generator[tuple[Sample, bytes, bytes]]:
    """Each sample with the bytes of its image and mask, in order; a few are read ahead."""
    waiting: deque[tuple[Sample, Future[bytes], Future[bytes]]] = deque()
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="export") as pool:
        try:
            for sample in samples:
                waiting.append((sample, pool.submit(read, sample.image.digest), pool.submit(read, sample.mask.digest)))
                if len(waiting) > READ_AHEAD:
                    first, image, mask = waiting.popleft()
                    yield first, image.result(), mask.result()
            while waiting:
                first, image, mask = waiting.popleft()
                yield first, image.result(), mask.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _check_object(data: bytes, ref: ImageRef, what: str) -> None:
    """That the bytes are those that the sample means, and a PNG of its size (IHDR comes first in every PNG)."""
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise StoreError(f"the {what} is damaged: its checksum is not {ref.digest}; restore it, or run it again")
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise StoreError(f"the {what} is not a PNG file; generate the run again")
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if size != (ref.width, ref.height):
        raise StoreError(
            f"the {what} is {size[0]} by {size[1]} pixels, its record says {ref.width} by {ref.height}; "
            "generate the run again"
        )


def _channels(png: bytes) -> int:
    """1 for grey, 3 for colour, by the colour type in IHDR."""
    return 3 if png[25] & 2 else 1


def _check_formats(formats: Collection[str], labels: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise InputProblem(f"{name!r} is no export format; there are: {', '.join(FORMATS)}")
    if {"yolo", "yolo-segment"} <= set(formats):
        raise InputProblem("yolo and yolo-segment would share the folder labels/; export them one after the other")
    if "semantic" in formats and len(labels) > masks.MOST_LABELS:
        raise InputProblem(
            f"a semantic mask of eight bits holds {masks.MOST_LABELS} labels, the study has {len(labels)}; "
            "leave out the format semantic: masks/ and coco.json hold every label"
        )


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = _PERMISSIONS
    return entry


def _add(archive: zipfile.ZipFile, name: str, data: bytes, *, packed: bool = False) -> None:
    """One entry; ``packed`` data (PNG) is not packed again."""
    archive.writestr(_entry(name), data, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)


def _add_pieces(archive: zipfile.ZipFile, name: str, pieces: Iterable[str]) -> None:
    """One entry of any size, piece by piece."""
    entry = _entry(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(entry, "w", force_zip64=True) as stream:
        for piece in pieces:
            stream.write(piece.encode())


def _read_back(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return iter(file)
