"""The quality bench's report: means over seeds, the share of the gap closed, harm, and a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Runs = Sequence[Mapping[str, float]]

#: Figures of a judge, with their names in the table.
FIGURES = {"ap": "pixel AP", "ap50": "box AP50", "ap33": "box AP33"}
#: Minimum gap between all real photos and the few. If it is smaller, no share of the gap is reported.
LEAST_GAP = 0.05
#: Ours + few does harm if its figure is below that of the few by more than this.
HARM = 0.02
#: Methods that ours + few is compared with, with their names in sentences.
_FEW = {"few_true": "the few with true masks", "few_auto": "the few with our mattes"}


def judged(pack: str, judge: str, runs: Mapping[str, Runs]) -> dict[str, Any]:
    """Return one judge's figures on one pack: ``methods``, ``gap_closed`` and ``harm``.

    ``runs`` has for each method its figures, one mapping for each seed. All methods have the same seeds.
    """
    return {
        "methods": {method: summary(of_method, FIGURES) for method, of_method in runs.items()},
        "gap_closed": {name: _gap_closed(runs, name) for name in FIGURES},
        "harm": [*_harm(pack, judge, runs)],
    }


def summary(runs: Runs, names: Iterable[str]) -> dict[str, float | None]:
    """Return the mean of each figure over the seeds, and its standard deviation as ``NAME_sd`` (0 for one seed)."""
    figures: dict[str, float | None] = {}
    for name in names:
        values = [run[name] for run in runs if run[name] is not None]
        figures[name] = float(np.mean(values)) if values else None
        figures[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return figures


def _gap_closed(runs: Mapping[str, Runs], figure: str) -> dict[str, float] | None:
    """Return, for ours and for ours + few, the share of the gap that it closes.

    The gap is between the few real photos with true masks and all real photos. Return None if a method is missing, or
    if the gap is smaller than ``LEAST_GAP``.
    """
    if not {"few_true", "all_real"} <= set(runs):
        return None
    few, everything = (_mean(runs[method], figure) for method in ("few_true", "all_real"))
    if everything - few < LEAST_GAP:
        return None
    methods = [method for method in ("ours", "ours_few") if method in runs]
    return {method: (_mean(runs[method], figure) - few) / (everything - few) for method in methods}


def _harm(pack: str, judge: str, runs: Mapping[str, Runs]) -> Iterable[str]:
    for few, called in _FEW.items():
        if not {few, "ours_few"} <= set(runs):
            continue
        for figure, name in FIGURES.items():
            before, after = _mean(runs[few], figure), _mean(runs["ours_few"], figure)
            if after < before - HARM:
                lower = sum(b[figure] < a[figure] for a, b in zip(runs[few], runs["ours_few"], strict=True))
                yield (
                    f"Harm on {pack}: the {judge} judge reaches {name} {after:.3f} with ours + few, and {before:.3f} "
                    f"with {called} alone (lower in {lower} of {len(runs[few])} seeds)."
                )


def _mean(runs: Runs, figure: str) -> float:
    return float(np.mean([run[figure] for run in runs]))


def table(report: Mapping[str, Any]) -> str:
    """Return the figures as a table for people."""
    lines = []
    for name, pack in report["packs"].items():
        lines.append(
            f"\n{name}: matte IoU {pack['matte_iou']:.2f}, {pack['outside_changed_px']} px changed outside masks, "
            f"{100 * pack['visible_share']:.0f} % visible, nearest copy {pack['nearest_copy']:.2f}, "
            f"C2ST of as many other real objects {pack['c2st_floor']:.2f} ± {pack['c2st_floor_sd']:.2f}"
        )
        for method, look in pack["look"].items():
            if look["c2st"] is not None:
                c2st = f"C2ST {look['c2st']:.2f} ± {look['c2st_sd']:.2f}"
                lines.append(f"  look of {method}: {c2st}, coverage {look['coverage']:.2f}")
        for judge, judgement in pack["judges"].items():
            lines.append(f"{judge + ' judge':<18}" + "".join(f"{called:>17}" for called in FIGURES.values()))
            for method, figures in judgement["methods"].items():
                cells = (f"{figures[n]:.3f} ± {figures[f'{n}_sd']:.3f}" for n in FIGURES)
                lines.append(f"  {method:<16}" + "".join(f"{cell:>17}" for cell in cells))
            for method in ("ours", "ours_few"):
                if method in judgement["methods"] and "all_real" in judgement["methods"]:
                    shares = (judgement["gap_closed"][n] for n in FIGURES)
                    cells = ("no gap" if share is None else f"{share[method]:.2f}" for share in shares)
                    lines.append(f"  gap, {method:<11}" + "".join(f"{cell:>17}" for cell in cells))
            lines += [f"  {sentence}" for sentence in judgement["harm"]]
    judgements = [judgement for pack in report["packs"].values() for judgement in pack["judges"].values()]
    compared = [j for j in judgements if "ours_few" in j["methods"] and set(_FEW) & set(j["methods"])]
    if compared and not any(judgement["harm"] for judgement in compared):
        lines.append(f"\nNo harm: ours + few is nowhere worse than the few by more than {HARM}.")
    return "\n".join(lines)
