"""``scripts/bench quality``: whether synthesized images help. Judges are trained on the images of each method.

Two judges (segmenters) are tested on held-out real images: the small judge starts from random weights, the pretrained
judge from ImageNet's (extra ``evaluation``). The methods, for every pack, are: the few real photos with true masks, the
same with our mattes, ours, ours + few, and all real photos. ``--methods`` adds boxes as masks, box paste, Dwibedi,
matte + Poisson, NSA and Perlin. All methods use the same seeds. Every method may also learn from the plain backgrounds,
which the user has.

``--json`` names a file that keeps each finished cell. The same command again computes only cells that are missing, or
that were made with another pack, engine version or setting. The bench prints a table. ``--out`` names a folder that
gets a contact sheet for each pack, and a plot."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from benches.judges import JUDGES, judge_named, without_weights
from benches.pack_bench import ALL, MADE, WITHOUT_ENGINE, Figures, PackBench
from benches.packs import pack_digest, pack_folders, read_pack
from benches.quality_report import judged, summary, table
from datagen.errors import DatagenError
from datagen.synthesis.engine import engine_class

#: To be changed whenever the bench gives other figures for the same images and judges.
VERSION = 2
#: The methods that are compared by default; the others are baselines.
_METHODS = ("few_true", "few_auto", "ours", "ours_few", "all_real")

#: Assumed seconds of a training and of a look on one core, until the first was measured.
_TRAINING_S, _LOOK_S = 90.0, 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One result of the comparison: a training (if ``judge`` is set), the look of a method's images, or the checks."""

    folder: Path
    method: str
    seed: int
    judge: str = ""

    @property
    def key(self) -> str:
        """The key of the cell in the file of figures."""
        return f"{self.folder.name} {self.judge or 'look'} {self.method} seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that all cells share; ``parameters`` are JSON."""

    shots: int
    steps: int | None
    engine: str
    parameters: str

    def identity(self, cell: Cell, digest: str) -> dict[str, Any]:
        """Return the values that determine the cell's figures, besides its key; ``digest`` is the pack's."""
        identity: dict[str, Any] = {"bench": VERSION, "pack": digest, "shots": self.shots}
        if cell.method not in WITHOUT_ENGINE:
            version = engine_class(self.engine).version
            identity |= {"engine": self.engine, "engine_version": version, "parameters": json.loads(self.parameters)}
        if cell.judge:
            judge = judge_named(cell.judge)
            identity |= {"judge_version": judge.version, "steps": self.steps or judge.steps}
        return identity


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if every pack was evaluated."""
    chosen = _parser().parse_args(arguments)
    settings = Settings(
        shots=chosen.shots, steps=chosen.steps, engine=chosen.engine, parameters=json.dumps(chosen.parameters)
    )
    names, sentence = without_weights(chosen.judges)
    if sentence:
        print(sentence, file=sys.stderr)
    try:
        folders = pack_folders(chosen.data)
        digests = {folder: pack_digest(folder) for folder in folders}
        cells = list(_cells(folders, names, chosen.methods, chosen.seeds))
        identities = {cell: settings.identity(cell, digests[cell.folder]) for cell in cells}
        kept = _Kept(chosen.json)
        missing = [cell for cell in cells if not kept.has(cell, identities[cell])]
        if len(missing) < len(cells):
            print(f"{len(cells) - len(missing)} of {len(cells)} figures are in {chosen.json} already.", file=sys.stderr)
        progress = _Progress(missing, chosen.processes)
        for cell, figures, seconds in _run(missing, settings, chosen.processes):
            kept.add(cell, identities[cell], figures, seconds)
            progress.report(cell, figures, seconds)
        report = _report(folders, names, chosen, kept)
        if chosen.out:
            _draw(report, folders, settings, chosen.out)
    except DatagenError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"Stopped. The same command continues{'' if chosen.json else ' only with --json'}.", file=sys.stderr)
        return 130
    kept.write(report)
    print(table(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="PACK", help="pack folders, or a folder of them"
    )
    parser.add_argument("--seeds", type=int, default=3, help="paired seeds (3)")
    parser.add_argument("--shots", type=int, default=8, help="concept images used (8)")
    parser.add_argument("--steps", type=int, help="training steps of both judges (400 for small, 200 for pretrained)")
    parser.add_argument("--judges", nargs="+", choices=JUDGES, default=list(JUDGES), help="only these")
    parser.add_argument(
        "--methods", nargs="+", choices=ALL, default=list(_METHODS), help=f"these ({' '.join(_METHODS)})"
    )
    parser.add_argument("--engine", default="composite", help="the engine that is ours (composite)")
    parser.add_argument("--parameters", type=json.loads, default={}, help="the engine's parameters, as JSON")
    parser.add_argument(
        "--processes", type=int, default=min(2, os.cpu_count() or 1), help="processes of one thread each (2)"
    )
    parser.add_argument("--json", type=Path, help="keep the figures here, and do not repeat those there")
    parser.add_argument("--out", type=Path, help="folder for contact sheets and a plot")
    return parser


def _cells(folders: Sequence[Path], judges: Sequence[str], methods: Sequence[str], seeds: int) -> Iterator[Cell]:
    """Yield all cells, one seed after the other, so that a stopped comparison has complete seeds."""
    for seed in range(seeds):
        for folder in folders:
            if seed == 0:
                yield Cell(folder=folder, method="checks", seed=0)
            for method in methods:
                if method in MADE:
                    yield Cell(folder=folder, method=method, seed=seed)
                for judge in judges:
                    yield Cell(folder=folder, method=method, seed=seed, judge=judge)


def _run(cells: Sequence[Cell], settings: Settings, processes: int) -> Iterator[tuple[Cell, Figures, dict[str, float]]]:
    """Compute the cells, each on one thread; yield each with its figures and seconds when it is done."""
    if processes == 1:
        for cell in cells:
            yield cell, *figures_of(cell, settings)
        return
    # spawned: a forked process would inherit the threads' locks of torch and OpenCV
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: dict[Future[tuple[Figures, dict[str, float]]], Cell] = {
            pool.submit(figures_of, cell, settings): cell for cell in cells
        }
        try:
            for done in as_completed(running):
                yield running[done], *done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def figures_of(cell: Cell, settings: Settings) -> tuple[Figures, dict[str, float]]:
    """Compute a cell; return its figures, and the seconds of wall-clock and of processor time that it took."""
    import torch

    torch.set_num_threads(1)
    began, worked = time.monotonic(), time.process_time()
    bench = _bench(cell.folder, settings)
    if cell.judge:
        figures = bench.judge(cell.judge, cell.method, cell.seed, settings.steps)
    elif cell.method == "checks":
        figures = bench.checks()
    else:
        figures = bench.look(cell.method, cell.seed)
    return figures, {
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - worked, 1),
    }


@lru_cache(maxsize=1)  # one pack's photos are in memory at a time
def _bench(folder: Path, settings: Settings) -> PackBench:
    pack = read_pack(folder, settings.shots)
    spec = replace(pack.spec, engine=settings.engine, parameters=json.loads(settings.parameters))
    return PackBench(replace(pack, spec=spec))


class _Kept:
    """The file of figures: its finished cells, and the identity of each."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.cells: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            try:
                self.cells = json.loads(path.read_text())["cells"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise DatagenError(
                    f"{path} is not a file of this bench's figures; name another one, or remove it."
                ) from None

    def has(self, cell: Cell, identity: dict[str, Any]) -> bool:
        """Whether the file has the cell, computed with the same identity."""
        return self.cells.get(cell.key, {}).get("made_from") == identity

    def add(self, cell: Cell, identity: dict[str, Any], figures: Figures, seconds: dict[str, float]) -> None:
        """Store a finished cell, and write the file."""
        self.cells[cell.key] = {"figures": figures, "made_from": identity} | seconds
        self.write({})

    def write(self, report: dict[str, Any]) -> None:
        """Write the cells and the report to the file. A reader never sees an incomplete file."""
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_name(f"{self._path.name}.draft")
            draft.write_text(json.dumps(report | {"cells": self.cells}, indent=1))
            draft.replace(self._path)


class _Progress:
    """Prints a line for each cell, with the estimated time left.

    The estimate is the mean time of the judge's finished cells on the same pack.
    """

    def __init__(self, cells: Sequence[Cell], processes: int) -> None:
        self._waiting, self._total, self._processes = list(cells), len(cells), processes
        self._spent: list[tuple[Cell, float]] = []

    def report(self, cell: Cell, figures: Figures, seconds: dict[str, float]) -> None:
        self._waiting.remove(cell)
        self._spent.append((cell, seconds["seconds"]))
        left = sum(self._expected(waiting) for waiting in self._waiting) / self._processes
        shown = " ".join(f"{name} {value:.3g}" for name, value in figures.items() if value is not None)
        print(
            f"[{self._total - len(self._waiting)}/{self._total}, about {left / 60:.0f} min left] "
            f"{cell.key}: {shown} ({seconds['seconds']:.0f} s)",
            file=sys.stderr,
            flush=True,
        )

    def _expected(self, cell: Cell) -> float:
        """Return the expected seconds of a cell.

        They are the mean of the same judge on the same pack, else the mean of the same judge, else a guess.
        """
        alike = [s for done, s in self._spent if (done.folder, done.judge) == (cell.folder, cell.judge)]
        alike = alike or [s for done, s in self._spent if done.judge == cell.judge]
        return sum(alike) / len(alike) if alike else _TRAINING_S if cell.judge else _LOOK_S


def _report(folders: Sequence[Path], judges: Sequence[str], chosen: argparse.Namespace, kept: _Kept) -> dict[str, Any]:
    seeds = range(chosen.seeds)

    def runs(folder: Path, method: str, judge: str = "") -> list[dict[str, float]]:
        cells = (Cell(folder=folder, method=method, seed=seed, judge=judge) for seed in seeds)
        return [kept.cells[cell.key]["figures"] for cell in cells]

    packs = {}
    for folder in folders:
        with_look = [method for method in chosen.methods if method in MADE]
        packs[folder.name] = {
            "judges": {
                judge: judged(folder.name, judge, {method: runs(folder, method, judge) for method in chosen.methods})
                for judge in judges
            },
            "look": {method: summary(runs(folder, method), ("c2st", "coverage")) for method in with_look},
        } | kept.cells[Cell(folder=folder, method="checks", seed=0).key]["figures"]
    return {"packs": packs, "seeds": chosen.seeds, "shots": chosen.shots}


def _draw(report: dict[str, Any], folders: Sequence[Path], settings: Settings, out: Path) -> None:
    from benches.sheets import contact_sheet, quality_plot

    out.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        contact_sheet(_bench(folder, settings).samples(0)[:40], out / f"{folder.name}.png")
    quality_plot(report, out / "quality.png")
