"""Rows of large studies for tests and measurements of the studio's pages. They are written without any work on them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from datagen.domain.lifecycle import SpecState
from datagen.domain.verdict import Opinion
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleFactsRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.generation.sample_facts import facts_of

#: Size of the images in pixels, and number of backgrounds and of concept photos.
WIDTH, HEIGHT, BACKGROUNDS, CONCEPTS = 512, 384, 50, 12
#: Number of rows in one statement.
_AT_A_TIME = 5_000
#: Outline of an instance: an ellipse of about 50 by 40 pixels.
_SHAPE = [
    (round(25 + 25 * math.cos(step * math.pi / 20), 1), round(20 + 20 * math.sin(step * math.pi / 20), 1))
    for step in range(40)
]
#: A stored picture of ``WIDTH`` by ``HEIGHT`` pixels: the output of ``dataclasses.asdict`` for an ``ImageRef``.
Picture = Mapping[str, Any]


def digest_of(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def add_version(session: Session, study_id: int, version: int, body: dict[str, Any]) -> SpecRow:
    """Add a version that was refined from the one before."""
    parent = session.scalar(select(SpecRow.id).where(SpecRow.study_id == study_id, SpecRow.version == version - 1))
    spec = SpecRow(
        study_id=study_id,
        version=version,
        parent_id=parent,
        state=SpecState.REFINED,
        digest=digest_of(f"{study_id}-{version}"),
        body=body,
        notes=["2 of 20 verdicts say “too strong”.", "contrast: 1.0 → 0.9"],
        findings=["Note: concept 3.jpg, box 1: more than one outline is possible"],
        created_by="tester",
    )
    session.add(spec)
    session.flush()
    return spec


def add_batch(
    session: Session, spec: SpecRow, kind: BatchKind, number: int, count: int, pictures: Sequence[Picture] = ()
) -> BatchRow:
    """Add a finished batch with its samples, in shards of 500.

    Its samples show ``pictures`` in turn, also as their backgrounds. Without any, no picture of theirs is stored.
    """
    batch = BatchRow(
        study_id=spec.study_id,
        spec_id=spec.id,
        kind=kind,
        number=number,
        name="first batch" if kind is BatchKind.RUN else "",
        first=0,
        count=count,
        state=WorkState.DONE,
        requested_by="tester",
        rendered_at=now(),
        published_at=now(),
    )
    session.add(batch)
    session.flush()
    for start in range(0, count, 500):
        stop = min(start + 500, count)
        shard = ShardRow(
            batch_id=batch.id, start=start, stop=stop, state=WorkState.DONE, rendered_at=now(), published_at=now()
        )
        session.add(shard)
        session.flush()
        samples = list(_samples(batch, shard.id, start, stop, pictures))
        for first in range(0, len(samples), _AT_A_TIME):
            session.execute(insert(SampleRow), samples[first : first + _AT_A_TIME])
        if kind is BatchKind.RUN:
            names = SampleFactsRow.__table__.columns.keys()
            facts = [facts_of(SampleRow(**sample)) for sample in samples]
            session.execute(insert(SampleFactsRow), [{name: getattr(row, name) for name in names} for row in facts])
    return batch


def judge(session: Session, batch: BatchRow) -> None:
    """Add a verdict to each sample of a batch; every third is bad."""
    sample_ids = session.scalars(
        select(SampleRow.id).where(SampleRow.batch_id == batch.id).order_by(SampleRow.index)
    ).all()
    verdicts = [
        {
            "annotation_id": 10_000_000 + sample_id,
            "sample_id": sample_id,
            "opinion": Opinion.BAD if number % 3 == 2 else Opinion.GOOD,
            "reasons": ["too strong"] if number % 3 == 2 else [],
            "reviewer": "tester",
            "updated_at": "2026-01-01T00:00:00Z",
        }
        for number, sample_id in enumerate(sample_ids)
    ]
    if verdicts:
        session.execute(insert(VerdictRow), verdicts)


def _samples(
    batch: BatchRow, shard_id: int, start: int, stop: int, pictures: Sequence[Picture]
) -> Iterator[dict[str, Any]]:
    for index in range(start, stop):
        stored = pictures[index % len(pictures)] if pictures else None
        left, top = index * 37 % (WIDTH - 60), index * 53 % (HEIGHT - 50)
        outline = [[left + x, top + y] for x, y in _SHAPE]
        background = stored or {"digest": digest_of(f"b{index % BACKGROUNDS}"), "width": WIDTH, "height": HEIGHT}
        yield {
            "key": f"s{batch.study_id}-b{batch.id}-{index}",
            "batch_id": batch.id,
            "shard_id": shard_id,
            "index": index,
            "task_id": 20_000_000 + batch.id * 1_000_000 + index,
            "verdict_change": 0,
            "body": {
                "image": {**stored, "name": f"{index}.png"} if stored else _reference(f"i{batch.id}-{index}"),
                "mask": _reference(f"m{batch.id}-{index}"),
                "instances": [
                    {
                        "label": "scratch",
                        "box": {"x": left, "y": top, "width": 20 + index % 31, "height": 10 + index % 23},
                        "outlines": [{"points": outline}],
                    }
                ],
                "provenance": {
                    "spec_digest": digest_of(f"{batch.study_id}"),
                    "index": index,
                    "seed": index,
                    "engine": "instant",
                    "engine_version": "1",
                    "background": {**background, "name": f"background {index % BACKGROUNDS}.jpg"},
                    "steps": {
                        "instances": [
                            {
                                "concept": f"{digest_of('c')[:12]}:0",
                                "concept_name": f"concept {index % CONCEPTS}.jpg",
                                "scale": 0.8 + index % 9 / 20,
                                "contrast": 1 + index % 40 / 10,
                                "draws": {f"draw {number}": index % (number + 7) / 10 for number in range(12)},
                            }
                        ]
                    },
                },
            },
        }


def _reference(name: str) -> dict[str, Any]:
    return {"digest": digest_of(name), "width": WIDTH, "height": HEIGHT, "name": f"{name}.png"}
