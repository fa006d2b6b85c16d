"""``scripts/bench engine-speed``: images per second on one core, for Datagen, seamlessClone, and the codec alone.

It measures at 0.1, 1 and 12 megapixels, on rendered plates or a pack's photos, which are extended by mirroring to the
wanted size. *ours* is all that the engine does for a sample: choose, search the place, pose, blend, check, outline; its
backgrounds are already decoded. *seamless_clone* is one ``cv2.seamlessClone`` of a concept at a random place on a copy
of the background; it chooses, checks and labels nothing. *codec* decodes the background and encodes the result as PNG,
as the image store does. *ours_and_codec* is both, and the PNG of the mask, as in a worker that does not have the
background decoded.

All are timed in turn, in several rounds, and the best round counts, because other programs can only slow a round down.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benches.memory import peak_megabytes
from benches.packs import Pack, pack_folders, read_pack
from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Spec
from datagen.errors import DatagenError
from datagen.imaging.codec import decode
from datagen.imaging.png_encoder import encode_mask, encode_png
from datagen.synthesis.composite.extraction.exemplars import Exemplar, candidates, choose
from datagen.synthesis.engine import Picture, load_engine
from datagen.synthesis.intensity import channels_as

SIZES_MP = (0.1, 1.0, 12.0)
#: Number of backgrounds at each size in megapixels. It is smaller for large ones, because making them would take longer
#: than measuring.
_BACKGROUNDS = {0.1: 24, 1.0: 8, 12.0: 3}
#: Seconds for each measurement, and the number of rounds of which the best counts.
_SECONDS, _ROUNDS = 1.5, 3


class _Encoded:
    """Pictures that are stored encoded, and stay decoded after the first load, as in a worker."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self.files: dict[str, bytes] = {}
        self._decoded: dict[str, Picture] = {}

    def add(self, picture: Picture, name: str) -> ImageRef:
        self.files[name] = encode_png(picture)
        return ImageRef(digest=name, width=picture.shape[1], height=picture.shape[0], name=name)

    def load(self, ref: ImageRef) -> Picture:
        if ref.digest not in self.files:
            return self._pack.pictures.load(ref)
        if ref.digest not in self._decoded:
            self._decoded[ref.digest] = decode(self.files[ref.digest], max_bytes=2**30, max_pixels=2**27)
        return self._decoded[ref.digest]


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if every size was measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench engine-speed", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="PACK", help="a pack folder; without it plates are rendered")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--sizes", type=float, nargs="+", default=list(SIZES_MP), help="megapixels (0.1 1 12)")
    parser.add_argument("--memory", type=float, metavar="MP", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = pack_folders([chosen.data])[0] if chosen.data else plates_pack(Path(scratch))
            pack = read_pack(folder, judged=False)
        except DatagenError as wrong:
            print(wrong, file=sys.stderr)
            return 2
        if chosen.memory:
            print(json.dumps(_memory(pack, chosen.memory)))
            return 0
        report = {"sizes": {}, "fit_seconds": _fit_seconds(pack)}
        for size in chosen.sizes:
            report["sizes"][f"{size:g}"] = _measure(pack, size)
            print(f"{size:g} MP measured", file=sys.stderr, flush=True)
        report["peak_mb_12mp"] = peak_megabytes(
            ["engine-speed", "--memory", "12", *(["--data", str(chosen.data)] if chosen.data else [])]
        )
    print(_table(report))
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


def plates_pack(folder: Path) -> Path:
    """Write a pack of rendered plates to ``folder``, without the test images."""
    from stage.plates import GIVEN, write_pack

    print("rendering plates …", file=sys.stderr, flush=True)
    write_pack(folder, lists=GIVEN)
    for name in ("test", "reference"):
        (folder / f"{name}.json").write_text("[]")
    return folder


def _fit_seconds(pack: Pack) -> float:
    """Return the seconds of a fit on all inputs of the pack, as the best of three.

    They include the first use of the backgrounds.
    """
    return min(_timed(lambda: _fitted(pack.spec, pack.pictures)) for _ in range(_ROUNDS))


def _fitted(spec: Spec, pictures: Any) -> Any:
    return load_engine(spec.engine).fit(spec, pictures, lambda _fraction, _what: None)


def study_of_size(pack: Pack, megapixels: float) -> tuple[Spec, _Encoded]:
    """Return the spec of a pack with its backgrounds in another size, and the pictures."""
    store = _Encoded(pack)
    plain = pack.backgrounds()
    refs = [
        store.add(_grown(plain[n % len(plain)], megapixels), f"{megapixels:g}-{n}")
        for n in range(_BACKGROUNDS.get(megapixels, 4))
    ]
    return replace(pack.spec, backgrounds=tuple(refs)), store


def _grown(picture: Picture, megapixels: float) -> Picture:
    """Return the picture cropped, or extended by mirroring, to that size. Texture and grain keep their scale."""
    height, width = picture.shape[:2]
    factor = np.sqrt(megapixels * 1e6 / (height * width))
    rows, columns = round(height * factor), round(width * factor)
    tiles = (-(-rows // height), -(-columns // width))
    row = np.concatenate([picture if n % 2 == 0 else picture[:, ::-1] for n in range(tiles[1])], axis=1)
    whole = np.concatenate([row if n % 2 == 0 else row[::-1] for n in range(tiles[0])], axis=0)
    return np.ascontiguousarray(whole[:rows, :columns])


def _measure(pack: Pack, megapixels: float) -> dict[str, float]:
    spec, store = study_of_size(pack, megapixels)
    fitted = _fitted(spec, store)
    list(fitted.render(range(len(spec.backgrounds))))
    extracted = [candidates(concept, pack.pictures.load(concept.image))[0] for concept in pack.spec.concepts]
    exemplars = choose([candidate for of_photo in extracted for candidate in of_photo], {})[0]
    pictures = [store.load(ref) for ref in spec.backgrounds]
    files = [store.files[ref.name] for ref in spec.backgrounds]
    chance = np.random.default_rng(0)

    def ours(n: int) -> None:
        next(iter(fitted.render([n])))

    def clone(n: int) -> None:
        _clone(pictures[n % len(pictures)], exemplars[n % len(exemplars)], chance)

    def codec(n: int) -> None:
        encode_png(decode(files[n % len(files)], max_bytes=2**30, max_pixels=2**27))

    def both(n: int) -> None:
        decode(files[n % len(files)], max_bytes=2**30, max_pixels=2**27)
        rendered = next(iter(fitted.render([n])))
        encode_png(rendered.image)
        encode_mask(rendered.mask)

    jobs = {"ours": ours, "seamless_clone": clone, "codec": codec, "ours_and_codec": both}
    # in turn, so that all meet the same disturbances
    best = dict.fromkeys(jobs, 0.0)
    for _ in range(_ROUNDS):
        for name, job in jobs.items():
            best[name] = max(best[name], _rate(job))
    return best


def _rate(job: Callable[[int], None]) -> float:
    """Return the number of runs of ``job`` per second of processor time."""
    began, done = time.process_time(), 0
    while time.process_time() - began < _SECONDS or done < 3:
        job(done)
        done += 1
    return done / (time.process_time() - began)


def _timed(job: Callable[[], Any]) -> float:
    began = time.process_time()
    job()
    return time.process_time() - began


def _clone(picture: npt.NDArray[Any], exemplar: Exemplar, chance: np.random.Generator) -> None:
    colour = picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    rows, columns = (np.flatnonzero(exemplar.mask.any(axis=axis)) for axis in (1, 0))
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    source = np.pad(channels_as(exemplar.patch[cut], 3).astype(np.uint8), ((3, 3), (3, 3), (0, 0)), mode="edge")
    mask = np.pad(exemplar.mask[cut].astype(np.uint8) * 255, 3)
    y = int(chance.integers(mask.shape[0], picture.shape[0] - mask.shape[0]))
    x = int(chance.integers(mask.shape[1], picture.shape[1] - mask.shape[1]))
    cv2.seamlessClone(source, colour.copy(), mask, (x, y), cv2.NORMAL_CLONE)


def _memory(pack: Pack, megapixels: float) -> dict[str, float]:
    """Render a few samples at a size. The caller measures the memory of the process."""
    spec, store = study_of_size(pack, megapixels)
    fitted = _fitted(spec, store)
    for sample in fitted.render(range(4)):
        encode_png(sample.image)
        encode_mask(sample.mask)
    return {"rendered": 4.0}


def _table(report: dict[str, Any]) -> str:
    lines = [
        "images a second on one core",
        f"{'MP':>5} {'ours':>9} {'seamlessClone':>14} {'codec':>9} {'ours + codec':>13}",
    ]
    for size, f in report["sizes"].items():
        lines.append(
            f"{size:>5} {f['ours']:>9.1f} {f['seamless_clone']:>14.1f} {f['codec']:>9.1f} {f['ours_and_codec']:>13.1f}"
            f"   {f['ours'] / f['codec']:.2f} × codec (with it {f['ours_and_codec'] / f['codec']:.2f}), "
            f"{f['ours'] / f['seamless_clone']:.2f} × seamlessClone"
        )
    lines.append(f"fit {report['fit_seconds']:.2f} s; peak memory at 12 MP {report['peak_mb_12mp']:.0f} MB")
    return "\n".join(lines)
