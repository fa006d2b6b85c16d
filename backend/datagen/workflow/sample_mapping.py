"""The mapping of samples to rows: a sample's key, and its domain value, which the row stores as ``body``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Instance, Provenance, Sample
from datagen.domain.trace import Trace
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow

#: Longest key, in characters; see ``SampleRow.key``.
LONGEST_KEY = 120


def key_of(batch: BatchRow, version: int, index: int) -> str:
    """Return the key in the data of a sample's task; it is unique to the sample and never changes."""
    return f"s{batch.study_id}-v{version}-{batch.kind}{batch.number}-{index}"


def shown_number(batch: BatchRow, index: int) -> int:
    """Return the sample's number in its project's task list and on its batch's contact sheet.

    In a round or an audit it is that of its place, counted from 1, as in the review tasks. In a run it is the index, as
    in the exported files' names.
    """
    return (index - batch.first) % batch.stride + 1 if batch.kind.is_reviewed else index


def to_body(
    sample: Sample, measured: Sequence[Mapping[str, float]] = (), probability: float | None = None
) -> dict[str, Any]:
    """Return the sample as JSON values; its trace is stored as ``steps``.

    Args:
        sample: the sample.
        measured: the measurements of its instances (``synthesis.crop_features``); stored beside the sample, as is
        probability: the probability of a good verdict that the version's critic predicts; None if it has none.
    """
    body = asdict(sample)
    if measured:
        body["measured"] = [dict(each) for each in measured]
    if probability is not None:
        body["probability"] = probability
    del body["provenance"]["trace"]
    body["provenance"]["steps"] = sample.provenance.trace.to_json()
    return body


def trace_of(row: SampleRow) -> Trace:
    """Return the engine's decisions for a sample. The labels in the row are not parsed, because they may be many."""
    return Trace.from_json(row.body["provenance"]["steps"])


def measurements_of(row: SampleRow) -> tuple[Mapping[str, float], ...]:
    """Return the measurements of a sample's instances; empty for a sample of an earlier release, or of a run."""
    return tuple(row.body.get("measured", ()))


def lateness_of(row: SampleRow) -> float | None:
    """Return a preview's place in the review order, from 0 (first) to 1; less certain predictions come first.

    None if its version has no critic, and for samples that are no previews of a round: the verdicts on those measure.
    """
    probability = row.body.get("probability")
    if probability is None or row.batch.kind != BatchKind.ROUND:
        return None
    return round(abs(2 * float(probability) - 1), 4)


def sample_of(row: SampleRow) -> Sample:
    """Return the sample that ``to_body`` wrote."""
    body = row.body
    return Sample(
        image=ImageRef(**body["image"]),
        mask=ImageRef(**body["mask"]),
        instances=tuple(
            Instance(
                label=instance["label"],
                box=Box(**instance["box"]),
                outlines=tuple(
                    Polygon(tuple((x, y) for x, y in outline["points"])) for outline in instance["outlines"]
                ),
            )
            for instance in body["instances"]
        ),
        provenance=Provenance(
            **{
                **{name: value for name, value in body["provenance"].items() if name != "steps"},
                "background": ImageRef(**body["provenance"]["background"]),
                "trace": trace_of(row),
            }
        ),
    )
