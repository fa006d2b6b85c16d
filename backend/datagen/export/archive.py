"""A set of samples as one zip: images, masks, manifest and the requested formats, checked while they are written.

The samples are streamed once and not kept in memory: entries that have to be written last are collected in temporary
files. Only the zip's central directory grows with the set, because the zip format stores it at the end.
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

#: Formats that may be requested in addition to images, masks and manifest.
FORMATS = ("coco", "yolo", "yolo-segment", "voc", "semantic")

#: Number of samples whose objects are read ahead. An object store takes tens of milliseconds for one read, but serves
#: many at a time.
READ_AHEAD = 16

#: Date of every entry: the earliest that the zip format allows. It is constant, so that equal samples give equal bytes.
_DATE = (1980, 1, 1, 0, 0, 0)

#: Unix permissions of every entry: a regular file that everyone may read.
_PERMISSIONS = 0o100644 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of a written archive."""

    samples: int
    instances: int
    #: instances by label, in the study's order, including labels without instances
    by_label: Mapping[str, int]


def write_zip(
    path: Path,
    samples: Iterable[Sample],
    *,
    labels: Sequence[str],
    read: Callable[[str], bytes],
    about: Mapping[str, Any],
    formats: Collection[str] = ("coco",),
) -> Summary:
    """Write ``samples`` to the zip ``path``: first to a draft in the same folder, which is renamed on success.

    Args:
        path: the file; an existing one is replaced. Missing folders are created.
        samples: the samples in any order, each once.
        labels: the study's labels, in order.
        read: returns a stored object's bytes by its digest; it is called from several threads.
        about: JSON values that describe the export. Its ``runs`` is a list with an object for each run (spec_digest,
            first_index, number, name, approved_by, approved_at), by which the run of a sample is found.
        formats: members of ``FORMATS``.

    Raises:
        InputProblem: a format is unknown, or two formats exclude each other.
        StoreError: an object is missing or damaged, a label disagrees with its mask, a sample is repeated, or the file
            cannot be written. The draft and newly created folders are removed, and an existing file is unchanged.
    """
    _check_formats(formats, labels)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the file to write, e.g. {path / 'dataset.zip'}")
    with _parent_folders(path):
        try:
            with draft.open("xb") as file:
                counts = _write(file, path.parent, samples, labels=labels, read=read, about=about, formats=formats)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as refusal:
            raise _cannot_write(path, refusal) from refusal
        finally:
            draft.unlink(missing_ok=True)
    by_label = {label: counts.instances[label] for label in labels}
    return Summary(samples=counts.samples, instances=sum(by_label.values()), by_label=by_label)


@contextmanager
def _parent_folders(path: Path) -> Iterator[None]:
    """Create a file's missing parent folders; remove them again if the block fails.

    Raises:
        StoreError: the folders cannot be created.
    """
    missing = [folder for folder in path.parents if not folder.exists()]  # innermost first
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as refusal:
            raise _cannot_write(path, refusal) from refusal
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # it was not created, or another process has added files to it
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
            image_entries = (line.rstrip("\n") for line in _read_back(images))
            annotation_entries = (line.rstrip("\n") for line in _read_back(annotations))
            _add_pieces(archive, "coco.json", coco.document(about, labels, image_entries, annotation_entries))
        if not {"yolo", "yolo-segment"}.isdisjoint(formats):
            _add(archive, "data.yaml", yolo.data_yaml(labels).encode())
        text = readme.text(about, images=counts.samples, instances=counts.instances, formats=formats)
        _add(archive, "README.txt", text.encode())
    return counts


def _objects(samples: Iterable[Sample], read: Callable[[str], bytes]) -> Generator[tuple[Sample, bytes, bytes]]:
    """Yield each sample with the bytes of its image and mask, in order; ``READ_AHEAD`` samples are read ahead."""
    pending: deque[tuple[Sample, Future[bytes], Future[bytes]]] = deque()
    with ThreadPoolExecutor(READ_AHEAD, thread_name_prefix="export") as pool:
        try:
            for sample in samples:
                pending.append((sample, pool.submit(read, sample.image.digest), pool.submit(read, sample.mask.digest)))
                if len(pending) > READ_AHEAD:
                    first, image, mask = pending.popleft()
                    yield first, image.result(), mask.result()
            while pending:
                first, image, mask = pending.popleft()
                yield first, image.result(), mask.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _check_object(data: bytes, ref: ImageRef, description: str) -> None:
    """Check that the bytes match the sample's digest and are a PNG of its size (IHDR is the first chunk of a PNG).

    Raises:
        StoreError: they do not match.
    """
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise StoreError(f"the {description} is damaged: its checksum is not {ref.digest}; restore it, or run it again")
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise StoreError(f"the {description} is not a PNG file; generate the run again")
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if size != (ref.width, ref.height):
        raise StoreError(
            f"the {description} is {size[0]} by {size[1]} pixels, its record says {ref.width} by {ref.height}; "
            "generate the run again"
        )


def _channels(png: bytes) -> int:
    """Return the number of channels of a PNG, from the colour type in its IHDR: 1 for grey, 3 for colour."""
    return 3 if png[25] & 2 else 1


def _check_formats(formats: Collection[str], labels: Sequence[str]) -> None:
    for name in formats:
        if name not in FORMATS:
            raise InputProblem(f"{name!r} is no export format; there are: {', '.join(FORMATS)}")
    if {"yolo", "yolo-segment"} <= set(formats):
        raise InputProblem("yolo and yolo-segment would share the folder labels/; export each to a file of its own")
    if "semantic" in formats and len(labels) > masks.MAX_LABELS:
        raise InputProblem(
            f"a semantic mask of eight bits holds {masks.MAX_LABELS} labels, the study has {len(labels)}; "
            "leave out the format semantic: masks/ and coco.json hold every label"
        )


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.external_attr = _PERMISSIONS
    return entry


def _add(archive: zipfile.ZipFile, name: str, data: bytes, *, packed: bool = False) -> None:
    """Add one entry; ``packed`` data (PNG) is stored without further compression."""
    archive.writestr(_entry(name), data, zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED)


def _add_pieces(archive: zipfile.ZipFile, name: str, pieces: Iterable[str]) -> None:
    """Add one entry of any size, in pieces."""
    entry = _entry(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(entry, "w", force_zip64=True) as stream:
        for piece in pieces:
            stream.write(piece.encode())


def _read_back(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return iter(file)
