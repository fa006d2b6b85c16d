"""The manifest: one JSON line per sample, with the provenance of all its pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from datagen.domain.geometry import Polygon
from datagen.domain.sample import Sample


def line(
    sample: Sample,
    *,
    files: Mapping[str, str],
    areas: Sequence[int],
    rings: Sequence[Sequence[Polygon]],
    provenance: Mapping[str, Any],
    split: str = "",
    written: bytes | None = None,
) -> str:
    """Return one line, without the newline.

    Args:
        sample: the sample.
        files: the sample's paths in the set by kind: image, mask, …
        areas: the areas of the sample's instances in pixels.
        rings: the rings of their holes, which are part of the line because outlines do not include them.
        provenance: where the pixels come from; see ``provenance``.
        split: the sample's split; "" in an export without splits.
        written: the image file, if it is not the stored one: signed.
    """
    body = {
        "files": dict(files),
        "sha256": {
            "image": sample.image.digest,
            "mask": sample.mask.digest,
            **({"signed_image": hashlib.sha256(written).hexdigest()} if written is not None else {}),
        },
        **({"split": split} if split else {}),
        "width": sample.image.width,
        "height": sample.image.height,
        "instances": [
            {
                "label": instance.label,
                "box": [instance.box.x, instance.box.y, instance.box.width, instance.box.height],
                "area": area,
                "mask_value": i + 1,
                "outlines": [outline.points for outline in instance.outlines],
                **({"holes": [ring.points for ring in holes]} if holes else {}),
            }
            for i, (instance, area, holes) in enumerate(zip(sample.instances, areas, rings, strict=True))
        ],
        "provenance": dict(provenance),
    }
    return json.dumps(body, ensure_ascii=False)


def provenance(sample: Sample, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the pixels of a sample come from, and the one of the ``runs`` of ``about`` that rendered it."""
    source = sample.provenance
    return {
        "spec_digest": source.spec_digest,
        "index": source.index,
        "seed": source.seed,
        "engine": source.engine,
        "engine_version": source.engine_version,
        "background": asdict(source.background),
        "steps": source.trace.to_json(),
        **_run(sample, about),
    }


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
