"""``scripts/bench export``: images a second of ``datagen export`` to a folder, by format, on one core.

The samples are stored already: the engine's own, at 0.1 megapixels, on the project's rendered plates. An export reads
each object, compares its checksum, compares its labels with its mask, and writes the files. *copy* is a plain copy of
the same files (``shutil.copytree``). Figures are per second of CPU time, and per second on the clock, the best of
three rounds; the peak memory is that of a process that exports so many samples.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2

from benches.engine_speed import plates_pack, study_of_size
from benches.memory import peak_megabytes
from benches.packs import read_pack
from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Sample
from datagen.export.archive import ExportOptions, write_dataset
from datagen.export.image_encoding import ImageEncoding, decode_own
from datagen.export.image_kinds import ImageKind
from datagen.export.tiling import Tiling
from datagen.export.writer import format_names
from datagen.imaging.png_encoder import encode_mask, encode_png
from datagen.synthesis.engine import load_engine

#: Samples that are rendered; an export of more repeats them under other indices.
RENDERED = 100
_ROUNDS = 3


def main(arguments: Sequence[str]) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="scripts/bench export", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--count", type=int, default=1_000, help="samples of an export (1000); 0: measure no speed")
    parser.add_argument("--megapixels", type=float, default=0.1, help="size of the images (0.1)")
    parser.add_argument("--formats", nargs="+", default=["coco", *(n for n in format_names() if n != "coco")])
    parser.add_argument("--memory-counts", type=int, nargs="*", default=[1_000, 10_000], help="(1000 10000)")
    parser.add_argument("--memory", nargs=3, metavar=("STORE", "FORMAT", "COUNT"), help=argparse.SUPPRESS)
    parser.add_argument("--images", choices=[kind.value for kind in ImageKind], default="png", help="(png)")
    parser.add_argument("--tile", type=int, help="side of tiles in pixels; whole images by default")
    chosen = parser.parse_args(arguments)
    shared = ["--images", chosen.images, *(["--tile", str(chosen.tile)] if chosen.tile else [])]
    tiling = Tiling(side=chosen.tile) if chosen.tile else None
    written = ExportOptions(encoding=ImageEncoding(ImageKind(chosen.images)), tiling=tiling)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.memory:
            store, name, count = chosen.memory
            _export(_Stored(Path(store)), int(count), name, Path(scratch) / "set", written)
            return 0
        store = Path(scratch) / "store"
        _render(store, Path(scratch), chosen.megapixels)
        stored = _Stored(store)
        report: dict[str, Any] = {"count": chosen.count, "megapixels": stored.megapixels, "formats": {}, "peak_mb": {}}
        for name in chosen.formats:
            if chosen.count:
                report["formats"][name] = _measured(stored, chosen.count, name, Path(scratch), written)
            report["peak_mb"][name] = {
                str(count): peak_megabytes(["export", *shared, "--memory", str(store), name, str(count)])
                for count in chosen.memory_counts
            }
            print(f"{name} measured, peaks in MB: {report['peak_mb'][name]}", file=sys.stderr, flush=True)
    if chosen.count:
        print(_table(report))
    print(_memory_table(report))
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


class _Stored:
    """Rendered samples in a folder: objects by their digest, and the samples as JSON lines."""

    def __init__(self, folder: Path) -> None:
        import pickle

        self._folder = folder
        self._samples: list[Sample] = pickle.loads((folder / "samples").read_bytes())  # noqa: S301 - our own file

    @property
    def megapixels(self) -> float:
        image = self._samples[0].image
        return round(image.width * image.height / 1e6, 3)

    def read(self, digest: str) -> bytes:
        return (self._folder / digest).read_bytes()

    def samples(self, count: int) -> Iterator[Sample]:
        for index in range(count):
            sample = self._samples[index % len(self._samples)]
            yield replace(sample, provenance=replace(sample.provenance, index=index))

    def background(self, ref: ImageRef) -> Any:
        return decode_own(self.read(_background_name(ref)))

    @property
    def labels(self) -> list[str]:
        return sorted({instance.label for sample in self._samples for instance in sample.instances})


def _render(store: Path, scratch: Path, megapixels: float) -> None:
    """Render samples into a folder."""
    import pickle

    pack = read_pack(plates_pack(scratch / "pack"), judged=False)
    spec, pictures = study_of_size(pack, megapixels)
    fitted = load_engine(spec.engine).fit(spec, pictures, lambda _fraction, _step: None)
    store.mkdir()

    def put(data: bytes, like: ImageRef) -> ImageRef:
        digest = hashlib.sha256(data).hexdigest()
        (store / digest).write_bytes(data)
        return replace(like, digest=digest)

    for ref in spec.backgrounds:
        (store / _background_name(ref)).write_bytes(encode_png(pictures.load(ref)))
    samples = []
    for rendered in fitted.render(range(RENDERED)):
        height, width = rendered.mask.shape
        ref = ImageRef(digest="", width=width, height=height, name="")
        image, mask = put(encode_png(rendered.image), ref), put(encode_mask(rendered.mask), ref)
        samples.append(Sample(image=image, mask=mask, instances=rendered.instances, provenance=rendered.provenance))
    (store / "samples").write_bytes(pickle.dumps(samples))


def _background_name(ref: ImageRef) -> str:
    return f"background-{ref.digest}"


def _export(stored: _Stored, count: int, name: str, path: Path, written: ExportOptions) -> None:
    write_dataset(
        path,
        stored.samples(count),
        labels=stored.labels,
        read=stored.read,
        about={},
        options=replace(written, formats=(name,)),
        backgrounds=stored.background,
    )


def _measured(stored: _Stored, count: int, name: str, scratch: Path, written: ExportOptions) -> dict[str, float]:
    """Return images a second of an export and of a copy of what it wrote."""
    exported, copied = scratch / "set", scratch / "copy"
    figures: dict[str, float] = {}
    for _ in range(_ROUNDS):
        for action, work in (
            ("export", lambda: _export(stored, count, name, exported, written)),
            ("copy", lambda: shutil.copytree(exported, copied)),
        ):
            clock, cpu = time.perf_counter(), time.process_time()
            work()
            for unit, seconds in (("clock", time.perf_counter() - clock), ("cpu", time.process_time() - cpu)):
                key = f"{action}_{unit}"
                figures[key] = max(figures.get(key, 0.0), count / seconds)
        shutil.rmtree(exported)
        shutil.rmtree(copied)
    return figures


def _table(report: dict[str, Any]) -> str:
    heads = ("format", "export, cpu", "export, clock", "copy, clock", "export / copy", "of the folder's speed, cpu")
    folder = report["formats"].get("coco", {}).get("export_cpu")
    rows = [
        (
            name,
            f"{f['export_cpu']:.0f}",
            f"{f['export_clock']:.0f}",
            f"{f['copy_clock']:.0f}",
            f"{f['export_clock'] / f['copy_clock']:.2f}",
            f"{f['export_cpu'] / folder:.2f}" if folder else "",
        )
        for name, f in report["formats"].items()
    ]
    lines = [f"{report['count']:,} samples of {report['megapixels']} MP, images a second:", ""]
    return "\n".join([*lines, *(" | ".join(row) for row in (heads, *rows))])


def _memory_table(report: dict[str, Any]) -> str:
    lines = ["", f"Peak MB by the number of samples of {report['megapixels']} MP:", ""]
    for name, peaks in report["peak_mb"].items():
        lines.append(f"{name} | " + ", ".join(f"{int(count):,}: {peak:.0f}" for count, peak in peaks.items()))
    return "\n".join(lines)
