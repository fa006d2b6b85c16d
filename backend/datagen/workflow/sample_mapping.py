"""Samples as rows: their key, and the domain value in a row's body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Instance, Provenance, Sample
from datagen.domain.spec import Json
from datagen.store.tables import BatchRow, SampleRow

#: Characters of a key; see ``SampleRow.key``.
LONGEST_KEY = 120


def key_of(batch: BatchRow, version: int, index: int) -> str:
    """Our key in the data of a sample's task: one sample, one key, for ever."""
    return f"s{batch.study_id}-v{version}-{batch.kind}{batch.number}-{index}"


def shown_number(batch: BatchRow, index: int) -> int:
    """The number under which people see a sample in its round's list, review task and contact sheet; from 1 on."""
    return index - batch.first + 1


def to_body(sample: Sample) -> dict[str, Any]:
    """The sample as JSON values."""
    return asdict(sample)


def steps_of(row: SampleRow) -> Mapping[str, Json]:
    """What the engine decided for a sample (``Provenance.steps``); its labels, which may be many, are not read."""
    steps: Mapping[str, Json] = row.body["provenance"]["steps"]
    return steps


def sample_of(row: SampleRow) -> Sample:
    """The sample that ``to_body`` wrote."""
    body = row.body
    return Sample(
        image=ImageRef(**body["image"]),
        mask=ImageRef(**body["mask"]),
        instances=tuple(
            Instance(
                label=one["label"],
                box=Box(**one["box"]),
                outlines=tuple(Polygon(tuple((x, y) for x, y in outline["points"])) for outline in one["outlines"]),
            )
            for one in body["instances"]
        ),
        provenance=Provenance(
            **{
                **body["provenance"],
                "background": ImageRef(**body["provenance"]["background"]),
            }
        ),
    )
