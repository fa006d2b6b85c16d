"""The manifest: one JSON line per sample, with the provenance of all its pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from datagen.domain.sample import Sample


def line(sample: Sample, *, files: Mapping[str, str], areas: Sequence[int], about: Mapping[str, Any]) -> str:
    """Return one line, without the newline.

    Args:
        sample: the sample.
        files: the sample's paths in the set by kind: image, mask, …
        areas: the areas of the sample's instances in pixels.
        about: the description of the export. The line contains that entry of its ``runs`` which rendered the sample.
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
            "steps": provenance.trace.to_json(),
            **_run(sample, about),
        },
    }
    return json.dumps(body, ensure_ascii=False)


def _run(sample: Sample, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run that rendered the sample, and the run's approval. Values that ``about`` does not contain are None.

    Runs of one spec have the same digest. Their ranges of sample indices follow each other, and each begins at the
    run's ``first_index``.
    """
    matching_run = None
    for run in sorted(about.get("runs", ()), key=lambda run: int(run.get("first_index", 0))):
        if run["spec_digest"] == sample.provenance.spec_digest and run.get("first_index", 0) <= sample.provenance.index:
            matching_run = run
    run = matching_run or {}
    return {
        "run": run.get("number"),
        "run_name": run.get("name"),
        "approved_by": run.get("approved_by"),
        "approved_at": run.get("approved_at"),
    }
