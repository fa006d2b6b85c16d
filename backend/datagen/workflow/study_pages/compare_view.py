"""Two versions of a study side by side: what differs in their specs, and the images of their newest rounds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.lifecycle import SpecState
from datagen.domain.wording import counted
from datagen.errors import Refused
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SpecRow
from datagen.workflow.decisions.spec_versions import spec_of_version
from datagen.workflow.study_pages.access import Visible, visible_study
from datagen.workflow.study_pages.batch_figures import Share, share_of
from datagen.workflow.study_pages.pictures import SamplePicture, first_pictures
from datagen.workflow.study_pages.situations import VerdictCounts, verdict_counts

#: Number of images of each version, of differences, and of versions that can be chosen; longest value, characters.
MAX_PICTURES, MAX_DIFFERENCES, MAX_VERSIONS, LONGEST_VALUE = 24, 200, 200, 120
#: Shown in place of a parameter that a version does not set.
UNSET = "—"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two versions."""

    version: int
    state: SpecState
    created_by: str
    created_at: datetime
    #: number of its newest round; None if it has none
    round_number: int | None
    good: int
    bad: int
    #: the share of good verdicts in that round; None without verdicts
    share: Share | None
    pictures: tuple[SamplePicture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A parameter or a number of inputs that differs, with its values as text."""

    name: str
    left: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareView:
    """Two versions beside each other."""

    study_id: int
    study: str
    left: Side
    right: Side
    #: numbers of all versions, the newest first
    versions: tuple[int, ...]
    #: what changed from the older to the newer one, version by version; empty if one does not descend from the other
    changes: tuple[tuple[int, tuple[str, ...]], ...]
    differences: tuple[Difference, ...]
    #: number of differences that are not shown
    more: int


def compare(session: Session, study_id: int, project_ids: Visible, left: int | None, right: int | None) -> CompareView:
    """Return two versions of a study; by default the newest one, and the one before it.

    Raises:
        Refused: there is no such study or version, or the person may not see the study.
    """
    study = visible_study(session, study_id, project_ids)
    versions = session.scalars(
        select(SpecRow.version).where(SpecRow.study_id == study.id).order_by(SpecRow.version.desc()).limit(MAX_VERSIONS)
    ).all()
    if len(versions) < 2:
        raise Refused(f"The study “{study.name}” has {counted(len(versions), 'version')}: there is nothing to compare.")
    right = versions[0] if right is None else right
    left = next((version for version in versions if version < right), versions[-1]) if left is None else left
    specs = [spec_of_version(session, study, version) for version in (left, right)]
    rounds = [_newest_round(session, spec) for spec in specs]
    present = [row for row in rounds if row is not None]
    pictures = first_pictures(session, present, MAX_PICTURES)
    counts = verdict_counts(session, [row.id for row in present])
    older, newer = sorted(specs, key=lambda spec: spec.version)
    differences = _differences(specs[0].body, specs[1].body)
    return CompareView(
        study_id=study.id,
        study=study.name,
        left=_side(specs[0], rounds[0], pictures, counts),
        right=_side(specs[1], rounds[1], pictures, counts),
        versions=tuple(versions),
        changes=_changes(session, older, newer),
        differences=tuple(differences[:MAX_DIFFERENCES]),
        more=max(len(differences) - MAX_DIFFERENCES, 0),
    )


def _newest_round(session: Session, spec: SpecRow) -> BatchRow | None:
    return session.scalar(
        select(BatchRow)
        .where(BatchRow.spec_id == spec.id, BatchRow.kind == BatchKind.ROUND)
        .order_by(BatchRow.number.desc())
        .limit(1)
    )


def _side(
    spec: SpecRow,
    batch: BatchRow | None,
    pictures: Mapping[int, tuple[SamplePicture, ...]],
    counts: Mapping[int, VerdictCounts],
) -> Side:
    """Return a version with its newest round, of whose id ``pictures`` and ``counts`` have the values."""
    verdicts = counts.get(batch.id, VerdictCounts()) if batch is not None else VerdictCounts()
    return Side(
        version=spec.version,
        state=spec.state,
        created_by=spec.created_by,
        created_at=spec.created_at,
        round_number=batch.number if batch is not None else None,
        good=verdicts.good,
        bad=verdicts.bad,
        share=share_of(verdicts),
        pictures=pictures.get(batch.id, ()) if batch is not None else (),
    )


def _changes(session: Session, older: SpecRow, newer: SpecRow) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Return version → its notes, of the versions from the older one (left out) to the newer one."""
    rows = session.execute(
        select(SpecRow.id, SpecRow.parent_id, SpecRow.version, SpecRow.notes).where(
            SpecRow.study_id == newer.study_id, SpecRow.version > older.version, SpecRow.version <= newer.version
        )
    )
    by_id = {spec_id: (parent_id, version, notes) for spec_id, parent_id, version, notes in rows}
    path: list[tuple[int, tuple[str, ...]]] = []
    spec_id: int | None = newer.id
    while spec_id in by_id:
        parent_id, version, notes = by_id[spec_id]
        path.append((version, tuple(notes)))
        spec_id = parent_id
    return tuple(reversed(path)) if spec_id == older.id else ()


def _differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    values = [dict(_flat(body)) for body in (left, right)]
    names = list(dict.fromkeys([*values[0], *values[1]]))
    shown = [(name, *(body.get(name, UNSET) for body in values)) for name in names]
    return [Difference(name=name, left=before, right=after) for name, before, after in shown if before != after]


def _flat(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the description of a spec: its inputs as numbers, and each parameter by its path."""
    yield "labels", ", ".join(body["labels"])
    for name in ("concepts", "canvases", "backgrounds"):
        yield name, counted(len(body[name]), "image")
    yield "boxes", str(sum(len(concept["regions"]) for concept in body["concepts"]))
    yield "engine", str(body["engine"])
    critic = body.get("critic")
    yield "critic", "none" if not critic else "rejects samples" if critic.get("reject_below") else "rejects nothing"
    yield from _parameters("", body["parameters"])


def _parameters(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, part in sorted(value.items()):
            yield from _parameters(f"{path}.{name}" if path else name, part)
        return
    if not path:  # it has no parameters
        return
    text = f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
    yield path, text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"
