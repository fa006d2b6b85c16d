"""The plot of ``scripts/bench learn``: the acceptance by number of verdicts, for each method and variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benches.learn_studies import ROUND

matplotlib.use("Agg")
from matplotlib import pyplot


def write_plot(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a plot with one panel a variant: the mean over the standards, and the range of their means.

    The range is drawn for the last method alone.
    """
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    with pyplot.rc_context({"svg.hashsalt": "learn", "svg.fonttype": "none", "font.size": 9}):
        figure, panels = pyplot.subplots(
            1, len(variants), figsize=(3.1 * len(variants), 2.9), sharey=True, squeeze=False, layout="constrained"
        )
        for panel, variant in zip(panels[0], variants, strict=True):
            for method in methods:
                own = [row for row in rows if (row["variant"], row["method"]) == (variant, method)]
                if not own:
                    continue
                standards = dict.fromkeys(row["standard"] for row in own)
                table = np.array(
                    [
                        np.mean([row["acceptance"] for row in own if row["standard"] == name], axis=0)
                        for name in standards
                    ]
                )
                verdicts = ROUND * np.arange(table.shape[1])
                colour = f"C{methods.index(method)}"
                panel.plot(verdicts, 100 * table.mean(axis=0), marker=".", label=method, color=colour)
                if method == methods[-1]:
                    low, high = 100 * table.min(axis=0), 100 * table.max(axis=0)
                    panel.fill_between(verdicts, low, high, color=colour, alpha=0.15, linewidth=0)
            panel.set(title=variant, xlabel="verdicts", ylim=(0, 102), xticks=verdicts[:: max(1, len(verdicts) // 5)])
            panel.grid(alpha=0.3)
        panels[0][0].set_ylabel("acceptable, %")
        panels[0][0].legend(loc="lower right", fontsize=7)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else {})
        pyplot.close(figure)
