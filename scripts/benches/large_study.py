"""A study of 50 versions and 100,000 samples, as rows and stored pictures, for measurements of the studio's pages.

The rows are written directly, so that no engine has to render them. All pictures are rendered plates, or
photos, which are stored as a worker would store them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import String, cast, insert, literal, select
from sqlalchemy.orm import Session

from benches.page_rows import BACKGROUNDS, CONCEPTS, HEIGHT, WIDTH, add_batch, add_version, digest_of, judge
from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion, ImageRef, Role
from datagen.domain.lifecycle import SpecState, StudyState
from datagen.domain.spec import Spec
from datagen.imaging.png_encoder import encode_png
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleFactsRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.inputs import parsed_results
from stage.metal import photograph, plate_of

#: Sizes of the study.
VERSIONS, SAMPLES, ROUND, GALLERY = 50, 100_000, 20, 200
#: Number of other studies, of small runs, and of entries of the audit log.
STUDIES, RUNS, ENTRIES = 40, 60, 2_000
#: Number of photos or plates of which pictures are made, by shifts and by noise of their own.
_DIFFERENT = 20
#: Number of samples of the large run that are written one by one.
_WRITTEN = 5_000
_LABEL = "scratch"
_TASK = 10_000_000


@dataclass(frozen=True, slots=True)
class LargeStudy:
    """Where the parts of the study are: its id, its last round, its large run, a run that goes on, and a sample."""

    id: int
    round: int
    run: int
    running: int
    sample_id: int


def store_pictures(images: BlobStore, count: int = GALLERY, photos: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Store ``count`` different pictures as PNG: of ``photos``, or else of rendered plates; return their references."""
    rng = np.random.default_rng(5)
    if photos:
        shown = [np.asarray(Image.open(photo).convert("RGB").resize((WIDTH, HEIGHT))) for photo in photos[:_DIFFERENT]]
    else:
        shown = [photograph(plate_of(rng), [], rng)[0] for _ in range(min(count, _DIFFERENT))]
    references = []
    for number in range(count):
        turned = np.roll(shown[number % len(shown)], 17 * (number // len(shown)), axis=1).astype(np.int16)
        noise = rng.integers(-2, 3, turned.shape, np.int16)
        picture = np.clip(turned + noise, 0, 255).astype(np.uint8)
        digest = images.put(encode_png(picture))
        references.append(asdict(ImageRef(digest=digest, width=WIDTH, height=HEIGHT, name=f"photo {number}.png")))
    return references


def add_large_study(
    database: Database, study_id: int, pictures: Sequence[dict[str, Any]], samples: int = SAMPLES
) -> LargeStudy:
    """Write the rows to a study that was just opened; ``samples`` is the number of samples of its large run."""
    with database.write() as session:
        study = session.get_one(StudyRow, study_id)
        study.state = StudyState.REVIEWING
        body = _add_inputs(session, study, pictures)
        for version in range(1, VERSIONS + 1):
            spec = add_version(session, study.id, version, body | {"seed": version})
            count = GALLERY if version == VERSIONS else ROUND
            shown = add_batch(session, spec, BatchKind.ROUND, version, count, pictures)
            judge(session, shown)
        spec.state = SpecState.REVIEW
        sample_id = session.scalars(select(SampleRow.id).where(SampleRow.batch_id == shown.id).offset(7)).first()
        _add_other_rows(session, study.name)
    with database.write() as session:
        spec = session.get_one(BatchRow, shown.id).spec
        _add_large_run(session, spec, pictures, samples)
        for number in range(2, RUNS + 2):
            run = add_batch(session, spec, BatchKind.RUN, number, 5, pictures)
        run.state = WorkState.RUNNING
    if sample_id is None:
        raise AssertionError("the round has samples")
    return LargeStudy(study_id, VERSIONS, 1, RUNS + 1, sample_id)


def _add_large_run(session: Session, spec: SpecRow, pictures: Sequence[dict[str, Any]], samples: int) -> None:
    """Add run 1. The database copies most of its samples from the first ones, which takes a tenth of the time."""
    different = min(samples, _WRITTEN)
    run = add_batch(session, spec, BatchKind.RUN, 1, different, pictures)
    for start in range(different, samples, different):
        shard = ShardRow(
            batch_id=run.id,
            start=start,
            stop=min(start + different, samples),
            state=WorkState.DONE,
            rendered_at=now(),
            published_at=now(),
        )
        session.add(shard)
        session.flush()
        changed = {
            "key": literal(f"s{run.study_id}-b{run.id}-{start}-") + cast(SampleRow.index, String),
            "shard_id": literal(shard.id),
            "index": SampleRow.index + start,
            "task_id": SampleRow.task_id + start,
        }
        _copy(session, SampleRow, run.id, shard.stop - start, changed)
        _copy(session, SampleFactsRow, run.id, shard.stop - start, {"index": SampleFactsRow.index + start})
    run.count = run.stride = run.reserved = samples


def _copy(session: Session, table: Any, batch_id: int, count: int, changed: dict[str, Any]) -> None:
    """Copy the rows of the first ``count`` samples of a batch, with other values in some columns."""
    names = [column.name for column in table.__table__.columns if column.name != "id"]
    copied = select(*(changed.get(name, getattr(table, name)).label(name) for name in names))
    copied = copied.where(table.batch_id == batch_id, table.index < count)
    session.execute(insert(table).from_select(names, copied, include_defaults=False))


def _add_inputs(session: Session, study: StudyRow, pictures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add inputs of all roles; return the body of a spec that has them."""
    turn = [ImageRef(**picture) for picture in pictures]
    corners = ((40.0, 40.0), (470.0, 45.0), (460.0, 340.0), (50.0, 335.0))
    region = ConceptRegion(label=_LABEL, box=Box(120, 90, 60, 34))
    area = CanvasArea(polygon=Polygon(corners))
    parsed = {
        Role.CONCEPT: (CONCEPTS, parsed_results.Parsed(regions=(region,))),
        Role.CANVAS: (CONCEPTS, parsed_results.Parsed(areas=(area,))),
        Role.BACKGROUND: (BACKGROUNDS, parsed_results.Parsed()),
    }
    used: dict[Role, list[ImageRef]] = {}
    task_id = _TASK + study.id * 1_000
    for role, (count, result) in parsed.items():
        for number in range(count):
            picture = turn[number % len(turn)]
            used.setdefault(role, []).append(picture)
            task_id += 1
            session.add(
                InputRow(
                    task_id=task_id,
                    study_id=study.id,
                    role=role,
                    name=f"{role} {number}.jpg",
                    url=f"/data/upload/{role}/{number}.jpg",
                    digest=picture.digest,
                    width=WIDTH,
                    height=HEIGHT,
                    answered=True,
                    parsed=parsed_results.to_text(result),
                )
            )
    spec = Spec(
        labels=(_LABEL,),
        concepts=tuple(ConceptImage(image=image, regions=(region,)) for image in used[Role.CONCEPT]),
        canvases=tuple(CanvasImage(image=image, areas=(area,)) for image in used[Role.CANVAS]),
        backgrounds=tuple(used[Role.BACKGROUND]),
        engine=study.engine,
    )
    return dict(spec.to_json())


def _add_other_rows(session: Session, name: str) -> None:
    session.execute(
        insert(StudyRow),
        [
            {"name": f"other study {number}", "labels": [_LABEL], "engine": "composite", "preview_size": ROUND}
            for number in range(STUDIES)
        ],
    )
    session.execute(
        insert(AuditRow),
        [
            {"study": name, "who": "annotator@example.com", "what": f"verdict {number} {digest_of(str(number))}"}
            for number in range(ENTRIES)
        ],
    )
