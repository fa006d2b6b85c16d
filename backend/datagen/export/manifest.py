"""The manifest: one JSON line a sample, the answer to "where does this come from" for every pixel of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from datagen.domain.sample import Sample


def line(sample: Sample, *, files: Mapping[str, str], areas: Sequence[int], about: Mapping[str, Any]) -> str:
    """One line, without its end.

    Args:
        sample: the sample.
        files: its paths in the set by what they are: image, mask, …
        areas: its instances' areas in pixels.
        about: what is known of the whole export; of its ``runs`` the one that made the sample is named.
    """
    provenance = sample.provenance
    body = {
        "files": dict(files),
        "sha256": {"image": sample.image.digest, "mask": sample.mask.digest},
        "width": sample.image.width,
        "height": sample.image.height,
        "instances": [
            {
                "label": instance.label,
                "box": [instance.box.x, instance.box.y, instance.box.width, instance.box.height],
                "area": area,
                "mask_value": i + 1,
                "outlines": [outline.points for outline in instance.outlines],
            }
            for i, (instance, area) in enumerate(zip(sample.instances, areas, strict=True))
        ],
        "provenance": {
            "spec_digest": provenance.spec_digest,
            "index": provenance.index,
            "seed": provenance.seed,
            "engine": provenance.engine,
            "engine_version": provenance.engine_version,
            "background": asdict(provenance.background),
            "steps": dict(provenance.steps),
            **_run(sample, about),
        },
    }
    return json.dumps(body, ensure_ascii=False)


def _run(sample: Sample, about: Mapping[str, Any]) -> dict[str, Any]:
    """The run that made the sample and who approved it; None each where ``about`` does not tell.

    Runs of one spec share its digest and follow each other by index, from each one's ``first_index`` on.
    """
    made_it = None
    for run in sorted(about.get("runs", ()), key=lambda run: int(run.get("first_index", 0))):
        if run["spec_digest"] == sample.provenance.spec_digest and run.get("first_index", 0) <= sample.provenance.index:
            made_it = run
    run = made_it or {}
    return {
        "run": run.get("number"),
        "run_name": run.get("name"),
        "approved_by": run.get("approved_by"),
        "approved_at": run.get("approved_at"),
    }
