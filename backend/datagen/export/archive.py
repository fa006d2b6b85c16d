"""A set of samples with their labels in the requested formats, checked while it is written.

The samples are streamed once and not kept in memory: what has to be written last is collected in temporary files. Only
a zip's central directory grows with the set, because the zip format stores it at the end.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Sample
from datagen.errors import StoreError
from datagen.export import consistency_check, manifest, masks, readme
from datagen.export.index_set import IndexSet
from datagen.export.local_sink import local_sink
from datagen.export.sinks import Sink
from datagen.export.splitting import Split
from datagen.export.writer import (
    NO_SPLIT,
    ExportContext,
    ExportedSample,
    ExportWriter,
    format_folders,
    requested_formats,
)

#: Number of samples whose objects are read ahead. An object store takes tens of milliseconds for one read, but serves
#: many at a time.
READ_AHEAD = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of a written export."""

    samples: int
    instances: int
    #: instances by label, in the study's order, including labels without instances
    by_label: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How an export is written."""

    #: names of installed formats
    formats: tuple[str, ...] = ("coco",)
    #: whether labels are predictions where a format tells them from annotations
    predictions: bool = False


DEFAULT_OPTIONS = ExportOptions()


def write_dataset(
    path: Path,
    samples: Iterable[Sample],
    *,
    labels: Sequence[str],
    read: Callable[[str], bytes],
    about: Mapping[str, Any],
    specs: Sequence[Mapping[str, Any]] = (),
    split: Split | None = None,
    options: ExportOptions = DEFAULT_OPTIONS,
    sign: Callable[[Sample, bytes], bytes] | None = None,
) -> Summary:
    """Write ``samples`` to ``path``: a zip if it ends with .zip, else a folder; see ``local_sink`` and ``write_to``.

    Raises:
        InputProblem: see ``write_to``; nothing is written.
        StoreError: see ``write_to``, or the path cannot be written. What was at ``path`` is unchanged.
    """
    requested_formats(options.formats, labels)
    with local_sink(path) as sink:
        return write_to(
            sink,
            samples,
            labels=labels,
            read=read,
            about=about,
            specs=specs,
            split=split,
            options=options,
            sign=sign,
        )


def write_to(
    sink: Sink,
    samples: Iterable[Sample],
    *,
    labels: Sequence[str],
    read: Callable[[str], bytes],
    about: Mapping[str, Any],
    specs: Sequence[Mapping[str, Any]] = (),
    split: Split | None = None,
    options: ExportOptions = DEFAULT_OPTIONS,
    sign: Callable[[Sample, bytes], bytes] | None = None,
) -> Summary:
    """Write ``samples`` to a destination.

    Args:
        sink: the destination.
        samples: the samples in any order, each once.
        labels: the study's labels, in order.
        read: returns a stored object's bytes by its digest; it is called from several threads.
        about: JSON values that describe the export. Its ``runs`` is a list with an object for each run (spec_digest,
            first_index, number, name, approved_by, approved_at), by which the run of a sample is found.
        specs: JSON values of the samples' specs and their ancestors, from which samples can be rendered again.
        split: the samples' splits, each a folder of images and masks.
        options: formats, and how they are written.
        sign: returns the image file of a sample with a signed manifest; its bytes differ each time.

    Raises:
        InputProblem: a format is unknown, requested twice, or cannot hold the study.
        StoreError: an object is missing or damaged, a label disagrees with its mask, or a sample is repeated.
    """
    classes = requested_formats(options.formats, labels)
    folders = format_folders(classes)
    export = _Export(sink, tuple(labels), about, options, split, list(zip(classes, folders, strict=True)), sign)
    try:
        with closing(_objects(samples, read)) as objects:
            for sample, image, mask in objects:
                export.add(sample, image, mask)
        return export.finish(specs)
    except BaseException:
        export.discard()
        raise


class _Export:
    """One export while it is written."""

    def __init__(
        self,
        sink: Sink,
        labels: tuple[str, ...],
        about: Mapping[str, Any],
        options: ExportOptions,
        split: Split | None,
        formats: Sequence[tuple[type[ExportWriter], str]],
        sign: Callable[[Sample, bytes], bytes] | None,
    ) -> None:
        self._sign = sign
        self._sink, self._labels, self._about, self._formats, self._split = sink, labels, about, formats, split
        self._writers = [
            each(
                ExportContext(
                    sink=sink,
                    labels=labels,
                    about=about,
                    folder=folder,
                    splits=tuple(split.counts) if split is not None else (NO_SPLIT,),
                    predictions=options.predictions,
                )
            )
            for each, folder in formats
        ]
        self._image_folders = [folder for each, folder in formats if folder and not each.holds_images]
        self._has_images = not formats or any(not each.holds_images and not folder for each, folder in formats)
        self._lines = sink.open("manifest.jsonl")
        self._samples = 0
        self._instances = dict.fromkeys(labels, 0)
        #: indices by spec
        self._written: dict[str, IndexSet] = {}

    def add(self, sample: Sample, image: bytes, mask_png: bytes) -> None:
        """Check one sample, and write it in every format."""
        checked, files = self._checked(sample, image, mask_png), {}
        if self._has_images:
            files = {"image": checked.image_path, "mask": checked.image_path.replace("images/", "masks/", 1)}
            self._sink.write(files["image"], checked.image, packed=True)
            self._sink.write(files["mask"], mask_png, packed=True)
        for folder in self._image_folders:
            self._sink.write(folder + checked.image_path, checked.image, packed=True)
        for writer in self._writers:
            files |= writer.add(checked)
        line = manifest.line(
            sample,
            files=files,
            areas=checked.areas,
            rings=checked.rings,
            provenance=checked.provenance,
            split=checked.split,
            written=checked.image if self._sign is not None else None,
        )
        self._lines.write(line.encode() + b"\n")
        self._samples += 1
        for instance in sample.instances:
            self._instances[instance.label] += 1

    def finish(self, specs: Sequence[Mapping[str, Any]]) -> Summary:
        """Write what follows the last sample."""
        for writer in self._writers:
            writer.finish()
        self._lines.close()
        text = readme.text(
            self._about,
            images=self._samples,
            instances=self._instances,
            formats=self._formats,
            has_images=self._has_images,
            splits=self._split.counts if self._split is not None else {},
        )
        if specs:
            lines = "".join(json.dumps(dict(spec), ensure_ascii=False) + "\n" for spec in specs)
            self._sink.write("specs.jsonl", lines.encode())
        self._sink.write("README.txt", text.encode())
        return Summary(samples=self._samples, instances=sum(self._instances.values()), by_label=self._instances)

    def discard(self) -> None:
        """Release what the formats hold, after a failure."""
        for writer in self._writers:
            writer.discard()

    def _checked(self, sample: Sample, image: bytes, mask_png: bytes) -> ExportedSample:
        name = sample.provenance.file_stem
        if not self._written.setdefault(sample.provenance.spec_digest, IndexSet()).add(sample.provenance.index):
            raise StoreError(f"sample {name} comes twice; export it once")
        _check_object(image, sample.image, f"image of sample {name}")
        _check_object(mask_png, sample.mask, f"mask of sample {name}")
        mask = masks.instance_mask(mask_png, name)
        split = self._split.of(sample) if self._split is not None else NO_SPLIT
        certified = consistency_check.check(sample, name, mask, labels=self._labels)
        return ExportedSample(
            sample=sample,
            name=name,
            image_path=f"images/{split}/{name}.png" if split else f"images/{name}.png",
            image=image if self._sign is None else self._sign(sample, image),
            mask_png=mask_png,
            mask=mask,
            areas=certified.areas,
            rings=certified.rings,
            provenance=manifest.provenance(sample, self._about),
            split=split,
        )


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
