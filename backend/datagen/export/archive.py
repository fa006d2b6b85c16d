"""A set of samples with their labels in the requested formats, checked while it is written.

The samples are streamed once and not kept in memory: what has to be written last is collected in temporary files. Only
a zip's central directory grows with the set, because the zip format stores it at the end.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datagen.domain.sample import RealPhoto, Sample
from datagen.errors import StoreError
from datagen.export import export_facts, manifest, readme
from datagen.export.image_encoding import LOSSLESS, ImageEncoding
from datagen.export.index_set import IndexSet
from datagen.export.local_sink import local_sink
from datagen.export.pieces import Backgrounds, Pieces
from datagen.export.sinks import Sink
from datagen.export.splitting import Split
from datagen.export.tiling import Tiling
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

#: Returns the image file of a sample with a signed manifest; its bytes differ each time.
Sign = Callable[[Sample, bytes], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts of a written export."""

    samples: int
    instances: int
    #: instances by label, in the study's order, including labels without instances
    by_label: Mapping[str, int]
    #: the number of real photos among the samples
    photos: int = 0
    #: sentences about what was left out, or written otherwise
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options of an export."""

    #: names of installed formats
    formats: tuple[str, ...] = ("coco",)
    #: whether labels are predictions where a format tells them from annotations
    predictions: bool = False
    #: of the image files; masks are PNG always
    encoding: ImageEncoding = LOSSLESS
    #: how images are cut; None: they are whole
    tiling: Tiling | None = None


DEFAULT_OPTIONS = ExportOptions()


def write_dataset(
    path: Path,
    samples: Iterable[Sample | RealPhoto],
    *,
    labels: Sequence[str],
    read: Callable[[str], bytes],
    about: Mapping[str, Any],
    specs: Sequence[Mapping[str, Any]] = (),
    split: Split | None = None,
    options: ExportOptions = DEFAULT_OPTIONS,
    backgrounds: Backgrounds | None = None,
    notes: Sequence[str] = (),
    sign: Sign | None = None,
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
            backgrounds=backgrounds,
            notes=notes,
            sign=sign,
        )


def write_to(
    sink: Sink,
    samples: Iterable[Sample | RealPhoto],
    *,
    labels: Sequence[str],
    read: Callable[[str], bytes],
    about: Mapping[str, Any],
    specs: Sequence[Mapping[str, Any]] = (),
    split: Split | None = None,
    options: ExportOptions = DEFAULT_OPTIONS,
    backgrounds: Backgrounds | None = None,
    notes: Sequence[str] = (),
    sign: Sign | None = None,
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
        backgrounds: returns the pixels of a background; a lossy encoding needs them.
        notes: sentences about what was left out before; README.txt and the summary contain them.
        sign: adds signed manifests to the image files; without it there are none.

    Raises:
        InputProblem: a format is unknown, requested twice, or cannot hold the study.
        StoreError: an object is missing or damaged, a label disagrees with its mask, or a sample is repeated.
    """
    classes = requested_formats(options.formats, labels)
    folders = format_folders(classes)
    pieces = Pieces(
        labels=tuple(labels),
        about=about,
        split=split,
        encoding=options.encoding,
        tiling=options.tiling,
        backgrounds=backgrounds,
    )
    export = _Export(sink, pieces, options, list(zip(classes, folders, strict=True)), sign)
    try:
        with closing(_objects(samples, read)) as objects:
            for sample, image, mask in objects:
                export.add(sample, image, mask)
        return export.finish(specs, notes)
    except BaseException:
        export.discard()
        raise


class _Export:
    """One export while it is written."""

    def __init__(
        self,
        sink: Sink,
        pieces: Pieces,
        options: ExportOptions,
        formats: Sequence[tuple[type[ExportWriter], str]],
        sign: Sign | None,
    ) -> None:
        self._sign = sign
        self._sink, self._pieces, self._about, self._formats = sink, pieces, pieces.about, formats
        self._writers = [
            each(
                ExportContext(
                    sink=sink,
                    labels=pieces.labels,
                    about=pieces.about,
                    folder=folder,
                    splits=tuple(pieces.split.counts) if pieces.split is not None else (NO_SPLIT,),
                    predictions=options.predictions,
                )
            )
            for each, folder in formats
        ]
        self._image_folders = [folder for each, folder in formats if folder and not each.holds_images]
        self._has_images = not formats or any(not each.holds_images and not folder for each, folder in formats)
        self._lines = sink.open("manifest.jsonl")
        self._samples = self._photos = 0
        self._instances = dict.fromkeys(pieces.labels, 0)
        self._in_splits = dict.fromkeys(pieces.split.counts, 0) if pieces.split is not None else {}
        #: indices by spec
        self._written: dict[str, IndexSet] = {}

    def add(self, sample: Sample | RealPhoto, image: bytes, mask_png: bytes) -> None:
        """Check one sample, and write it in every format."""
        if not self._is_new(sample):
            raise StoreError(f"sample {sample.file_stem} comes twice; export it once")
        for piece in self._pieces.of(sample, image, mask_png):
            self._add(piece)

    def _add(self, piece: ExportedSample) -> None:
        """Write one piece of a sample in every format."""
        files: dict[str, str] = {}
        is_signed = self._sign is not None and isinstance(piece.sample, Sample)
        if self._sign is not None and isinstance(piece.sample, Sample):  # photos are not synthesized
            piece = replace(piece, image=self._sign(piece.sample, piece.image))
        if self._has_images:
            files = {"image": piece.image_path, "mask": piece.mask_path}
            self._sink.write(files["image"], piece.image, packed=True)
            self._sink.write(files["mask"], piece.mask_png, packed=True)
        for folder in self._image_folders:
            self._sink.write(folder + piece.image_path, piece.image, packed=True)
        for writer in self._writers:
            files |= writer.add(piece)
        self._lines.write(manifest.line(piece, files, is_signed=is_signed).encode() + b"\n")
        self._samples += 1
        self._photos += isinstance(piece.sample, RealPhoto)
        self._in_splits[piece.split] = self._in_splits.get(piece.split, 0) + 1
        for instance in piece.sample.instances:
            self._instances[instance.label] += 1

    def finish(self, specs: Sequence[Mapping[str, Any]], former_notes: Sequence[str]) -> Summary:
        """Write what follows the last sample."""
        for writer in self._writers:
            writer.finish()
        self._lines.close()
        notes = [*former_notes, *self._pieces.notes()]
        text = readme.text(
            self._about,
            images=self._samples,
            instances=self._instances,
            formats=self._formats,
            has_images=self._has_images,
            splits=self._in_splits if self._pieces.split is not None else {},
            photos=self._photos,
            notes=notes,
        )
        if specs:
            lines = "".join(json.dumps(dict(spec), ensure_ascii=False) + "\n" for spec in specs)
            self._sink.write("specs.jsonl", lines.encode())
        self._sink.write("README.txt", text.encode())
        if chosen := export_facts.choices(self._about):
            facts = export_facts.ExportFacts(
                images=self._samples, photos=self._photos, instances=self._instances, choices=chosen, notes=notes
            )
            self._sink.write(export_facts.NAME, facts.to_json().encode())
        return Summary(
            samples=self._samples,
            instances=sum(self._instances.values()),
            by_label=self._instances,
            photos=self._photos,
            notes=tuple(notes),
        )

    def discard(self) -> None:
        """Release what the formats hold, after a failure."""
        for writer in self._writers:
            writer.discard()

    def _is_new(self, sample: Sample | RealPhoto) -> bool:
        """Note that a sample is written; return False if it was before."""
        source = sample.provenance if isinstance(sample, Sample) else None
        group, number = (source.spec_digest, source.index) if source is not None else (sample.file_stem, 0)
        return self._written.setdefault(group, IndexSet()).add(number)


def _objects(
    samples: Iterable[Sample | RealPhoto], read: Callable[[str], bytes]
) -> Generator[tuple[Sample | RealPhoto, bytes, bytes]]:
    """Yield each sample with the bytes of its image and mask, in order; ``READ_AHEAD`` samples are read ahead."""
    pending: deque[tuple[Sample | RealPhoto, Future[bytes], Future[bytes]]] = deque()
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
