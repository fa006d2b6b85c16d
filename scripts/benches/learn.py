"""``scripts/bench learn``: what verdicts change, by simulated reviewers with hidden standards.

Each reviewer judges 20 samples a round. After each refinement 40 fresh samples of the new version are judged by the
standard itself, without mistakes. The engine is fitted once a pack, and every version is composed by it.

The file of figures is written after every study. A run that was killed goes on where it was if it is started with the
same file, and runs with other packs, methods, variants, standards or seeds add to it.

The figures of other benches that belong in the file are copied from their files by --merge: the top-level keys “ece”,
“active_ratio” and “broken_promises”. Without a file with “broken_promises” they are simulated as by
``scripts/bench promises``: the largest share over the kinds of leads that promise at 90 % confidence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benches import promises
from benches.learn_methods import METHODS
from benches.learn_plot import write_plot
from benches.learn_reviewers import Demand, Reviewer, standards
from benches.learn_studies import ROUND, Subject, diversity, drift, read_subject, simulate
from benches.packs import pack_folders
from datagen.errors import DatagenError

#: A fall of the acceptance from one version to the next that is counted.
_FALL = 0.1
#: Wanted acceptance after all rounds.
_WANTED = 0.9
#: Code on which the figures depend, relative to the repository.
_CODE = ("backend/datagen/learning", "backend/datagen/synthesis", "scripts/benches/learn_*.py")
_ROOT = Path(__file__).resolve().parents[2]
#: What identifies a simulated study.
_KEY = ("pack", "variant", "method", "standard", "seed")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How a reviewer judges: the share of flipped verdicts, whether reasons are given, and the rounds (or as asked)."""

    flips: float = 0.0
    gives_reasons: bool = True
    rounds: int | None = None


VARIANTS = {
    "clean": Variant(),
    "flips": Variant(flips=0.1),
    "no reasons": Variant(gives_reasons=False),
    "ten rounds": Variant(flips=0.1, rounds=10),
}


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if all studies were simulated."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench learn", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PACK", help="pack folders")
    parser.add_argument("--seeds", type=int, default=1, help="simulated studies of each reviewer and pack")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of 20 verdicts")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--variants", nargs="+", default=["clean", "flips", "no reasons"], choices=VARIANTS)
    parser.add_argument("--standards", nargs="+", default=[], help="only these standards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures; a run goes on from it")
    parser.add_argument("--merge", type=Path, nargs="+", default=[], metavar="FILE", help="figures of other benches")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="plot of the acceptance by round")
    chosen = parser.parse_args(arguments)
    try:
        merged = _merged(chosen.merge)
        rows = _rows_of(chosen.json, chosen.rounds)
        for row in _studies(chosen, rows):
            rows.append(row)
            if chosen.json:
                _write(chosen.json, _report(rows, merged, chosen.rounds))
    except DatagenError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    for variant, method in dict.fromkeys((row["variant"], row["method"]) for row in rows):
        _show(variant, method, [row for row in rows if (row["variant"], row["method"]) == (variant, method)])
    if chosen.json:
        _write(chosen.json, _report(rows, merged, chosen.rounds))
    if chosen.plot:
        write_plot(chosen.plot, rows)
    return 0


def _studies(chosen: argparse.Namespace, rows: Sequence[Row]) -> Iterable[Row]:
    """Yield a row for each study that is not among ``rows``, and print it with the time left."""
    known = {tuple(row[key] for key in _KEY) for row in rows}
    folders = pack_folders(chosen.data)
    of_a_pack = list(product(chosen.variants, chosen.methods, range(chosen.seeds)))
    began, simulated = time.monotonic(), 0
    for at, folder in enumerate(folders):
        subject = read_subject(folder)
        every = standards(subject.pool)
        if unknown := sorted(set(chosen.standards) - every.keys()):
            raise DatagenError(f"--standards: {unknown[0]!r} is none of {', '.join(every)}.")
        named = {name: demands for name, demands in every.items() if not chosen.standards or name in chosen.standards}
        missing = [
            (variant, method, name, seed)
            for (variant, method, seed), name in product(of_a_pack, named)
            if (subject.name, variant, method, name, seed) not in known
        ]
        for done, (variant, method, name, seed) in enumerate(missing):
            key = {"pack": subject.name, "variant": variant, "method": method, "standard": name, "seed": seed}
            row = key | _measured(subject, named[name], method, VARIANTS[variant], seed, chosen.rounds)
            simulated += 1
            left = len(missing) - done - 1 + (len(folders) - at - 1) * len(of_a_pack) * len(named)
            minutes = (time.monotonic() - began) / simulated * left / 60
            shares = " ".join(f"{share:.0%}" for share in row["acceptance"])
            print(
                f"{subject.name:14} {variant:10} {method:14} {name:18} seed {seed}: {shares}; {left} left, about "
                f"{minutes:.0f} min",
                flush=True,
            )
            yield row


def _measured(
    subject: Subject, demands: tuple[Demand, ...], method: str, variant: Variant, seed: int, rounds: int
) -> Row:
    reviewer = Reviewer(demands=demands, flips=variant.flips, gives_reasons=variant.gives_reasons)
    study = simulate(subject, reviewer, METHODS[method](seed), seed, variant.rounds or rounds)
    enough = [ROUND * number for number, share in enumerate(study.acceptance) if share >= _WANTED]
    return {
        "acceptance": [round(share, 4) for share in study.acceptance],
        "verdicts_to_90": enough[0] if enough else None,
        "falls": int(np.count_nonzero(np.diff(study.acceptance) <= -_FALL + 1e-9)),
        "seconds": round(study.slowest, 3),
        "diversity": diversity(subject, reviewer, study),
        "drift": drift(subject, study),
    }


def _rows_of(file: Path | None, rounds: int) -> list[Row]:
    """Return the rows of an earlier run's file; none if there is no file.

    Raises:
        DatagenError: other code or another number of rounds made the file.
    """
    if file is None or not file.exists():
        return []
    try:
        report = json.loads(file.read_text())
        made_by, rows = report["made_by"], report["rows"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise DatagenError(f"{file} is no file of this bench; name another one with --json.") from None
    if made_by != _made_by(rounds):
        raise DatagenError(
            f"{file} was made by other code, or with another number of rounds; move it away, or name another one with "
            "--json."
        )
    return list(rows)


def _made_by(rounds: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    for pattern in _CODE:
        paths = _ROOT.glob(pattern if pattern.endswith(".py") else f"{pattern}/**/*.py")
        for path in sorted(path for path in paths if path.stem != "learn_plot"):
            digest.update(path.read_bytes())
    return {"code": digest.hexdigest(), "rounds": rounds}


def _merged(files: Sequence[Path]) -> dict[str, Any]:
    """Return the figures of other benches.

    Raises:
        DatagenError: a file has none, or is not JSON.
    """
    figures: dict[str, Any] = {"ece": None, "active_ratio": None}
    for file in files:
        try:
            report = json.loads(file.read_text())
        except (OSError, json.JSONDecodeError) as wrong:
            raise DatagenError(f"--merge: {file} cannot be read: {wrong}.") from None
        own = {key: report[key] for key in ("ece", "active_ratio", "broken_promises") if key in report}
        if not own:
            raise DatagenError(f"--merge: {file} has no “ece”, “active_ratio” or “broken_promises”; leave it out.")
        figures |= own
    table = figures.get("broken_promises") or promises.simulate()
    if isinstance(table, dict):
        figures["broken_promises"] = max(
            lead["broken"] for lead in table.values() if lead["allowed"] <= 1 - promises.acceptance.CONFIDENCE + 1e-9
        )
    return figures


def _write(file: Path, report: dict[str, Any]) -> None:
    """Replace the file at once, so that a killed run leaves a whole one."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(json.dumps(report, indent=1))
    part.replace(file)


def _show(variant: str, method: str, rows: Sequence[Row]) -> None:
    means = _means(rows)
    lowest, share = means["lowest"]
    print(
        f"{method}, {variant}: {len(rows)} studies, acceptance by round {means['acceptance']}, lowest {lowest} "
        f"{share:.2f}, falls {means['falls']:.3f} of the steps, coverage {means['coverage']}, refine at most "
        f"{means['seconds']:.2f} s",
        flush=True,
    )


def _means(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the means over standards, packs and seeds, and the standard with the lowest acceptance at the end."""
    table = np.array([row["acceptance"] for row in rows])
    names = dict.fromkeys(row["standard"] for row in rows)
    last = {name: float(np.mean([r["acceptance"][-1] for r in rows if r["standard"] == name])) for name in names}
    lowest = min(last, key=lambda name: last[name])
    coverage = [row["diversity"]["coverage"] for row in rows if "coverage" in row["diversity"]]
    return {
        "studies": len(rows),
        "acceptance": [round(float(share), 3) for share in table.mean(axis=0)],
        "lowest": [lowest, round(last[lowest], 3)],
        "falls": round(sum(row["falls"] for row in rows) / (table.shape[0] * (table.shape[1] - 1)), 4),
        "coverage": round(float(np.mean(coverage)), 3) if coverage else None,
        "seconds": max(row["seconds"] for row in rows),
    }


def _report(rows: Sequence[Row], merged: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Return the figures: standard → method and variant → means over packs and seeds, then the means over standards."""
    figures: dict[str, Any] = {}
    kinds = dict.fromkeys((row["method"], row["variant"]) for row in rows)
    for name in dict.fromkeys(row["standard"] for row in rows):
        of_methods = figures[name] = {}
        for method, variant in kinds:
            own = [r for r in rows if (r["standard"], r["method"], r["variant"]) == (name, method, variant)]
            if not own:
                continue
            to_90 = [r["verdicts_to_90"] for r in own if r["verdicts_to_90"] is not None]
            of_methods[_in_words(method, variant)] = {
                "rejection_by_round": [
                    round(1 - float(share), 4) for share in np.mean([r["acceptance"] for r in own], axis=0)
                ],
                "verdicts_to_90": float(np.median(to_90)) if 2 * len(to_90) > len(own) else None,
                "diversity": {
                    key: round(float(np.mean([r["diversity"][key] for r in own if key in r["diversity"]])), 4)
                    for key in ("coverage", "size_spread", "place_spread")
                    if any(key in r["diversity"] for r in own)
                },
            }
    means = {
        _in_words(method, variant): _means([r for r in rows if (r["method"], r["variant"]) == (method, variant)])
        for method, variant in kinds
    }
    return {"standards": figures, **merged, "means": means, "made_by": _made_by(rounds), "rows": list(rows)}


def _in_words(method: str, variant: str) -> str:
    return method if variant == "clean" else f"{method}, {variant}"
