"""The mapping of samples to rows: a sample's key, and the domain value in a row's body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Instance, Provenance, Sample
from datagen.domain.spec import Json
from datagen.store.tables import BatchRow, SampleRow

#: Longest key, in characters; see ``SampleRow.key``.
LONGEST_KEY = 120


def key_of(batch: BatchRow, version: int, index: int) -> str:
    """Return the key in the data of a sample's task; it is unique to the sample and never changes."""
    return f"s{batch.study_id}-v{version}-{batch.kind}{batch.number}-{index}"


def shown_number(batch: BatchRow, index: int) -> int:
    """Return the sample's number in its round's task list, review task and contact sheet, counted from 1."""
    return index - batch.first + 1


def to_body(sample: Sample) -> dict[str, Any]:
    """Return the sample as JSON values."""
    return asdict(sample)


def steps_of(row: SampleRow) -> Mapping[str, Json]:
    """Return the engine's choices for a sample (``Provenance.steps``); the labels, which may be many, are not read."""
    steps: Mapping[str, Json] = row.body["provenance"]["steps"]
    return steps


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
                **body["provenance"],
                "background": ImageRef(**body["provenance"]["background"]),
            }
        ),
    )
