"""The manifest: one JSON line per sample, with the provenance of all its pixels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from datagen.domain.geometry import Polygon
from datagen.domain.sample import RealPhoto, Sample
from datagen.export.writer import ExportedSample


def line(piece: ExportedSample, files: Mapping[str, str], *, is_signed: bool = False) -> str:
    """Return one line, without the newline.

    ``sha256`` is of the files as they were stored; ``file_sha256`` is there if the written files have other bytes.

    Args:
        piece: the image, or the tile.
        files: its paths in the set by kind: image, mask, …
        is_signed: whether the image has a signed manifest, and therefore other bytes than the stored one.
    """
    sample, whole = piece.sample, piece.whole
    written = {"image": _sha256(piece.image), "mask": sample.mask.digest} if piece.details or is_signed else {}
    body = {
        "files": dict(files),
        "sha256": {"image": whole.image.digest, "mask": whole.mask.digest},
        **({"file_sha256": written} if written else {}),
        **({"split": piece.split} if piece.split else {}),
        "width": sample.image.width,
        "height": sample.image.height,
        "instances": instances(sample, piece.areas, piece.rings),
        **piece.details,
        "provenance": dict(piece.provenance),
    }
    return json.dumps(body, ensure_ascii=False)


def instances(
    sample: Sample | RealPhoto, areas: Sequence[int], rings: Sequence[Sequence[Polygon]]
) -> list[dict[str, Any]]:
    """Return the instances of a sample; ``areas`` are in pixels, ``rings`` those of the holes."""
    boxes_only = sample.boxes_only if isinstance(sample, RealPhoto) else ()
    return [
        {
            "label": instance.label,
            "box": [instance.box.x, instance.box.y, instance.box.width, instance.box.height],
            "area": area,
            "mask_value": i + 1,
            "outlines": [outline.points for outline in instance.outlines],
            **({"holes": [ring.points for ring in holes]} if holes else {}),
            **({"drawn": "box"} if i in boxes_only else {}),
        }
        for i, (instance, area, holes) in enumerate(zip(sample.instances, areas, rings, strict=True))
    ]


def provenance(sample: Sample | RealPhoto, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the pixels of a sample come from, and the one of the ``runs`` of ``about`` that rendered it."""
    if isinstance(sample, RealPhoto):
        return {"origin": "photo", "photo": asdict(sample.photo)}
    source = sample.provenance
    return {
        "origin": "synthesized",
        "spec_digest": source.spec_digest,
        "index": source.index,
        "seed": source.seed,
        "engine": source.engine,
        "engine_version": source.engine_version,
        "background": asdict(source.background),
        "steps": source.trace.to_json(),
        **_run(sample, about),
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
