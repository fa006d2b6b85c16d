"""Add handovers, which are made in the background, and what the samples of runs are searched and sorted by."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_BATCH = sa.table("batch", sa.column("id"), sa.column("kind"))
_SAMPLE = sa.table("sample", sa.column("batch_id"), sa.column("index"), sa.column("body", sa.JSON()))
_FACTS = sa.table(
    "sample_facts",
    *(
        sa.column(name)
        for name in ("batch_id", "index", "instances", "size", "places", "labels", "concepts", "background")
    ),
)
#: Number of samples that are read at a time, and of digits of a photo's digest in the key of a concept.
_AT_A_TIME, _DIGITS = 1_000, 12


def upgrade() -> None:
    """Move forward."""
    op.create_table(
        "handover",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("token", sa.String(32), nullable=True),
        sa.Column("due_at", _TIME, nullable=False),
        sa.Column("waits", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("waiting_since", _TIME, nullable=True),
        sa.Column("error", sa.String(1000), nullable=False),
        sa.Column("study_id", sa.Integer(), sa.ForeignKey("study.id"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("wish", sa.JSON(), nullable=False),
        sa.Column("requested_by", sa.String(200), nullable=False),
        sa.Column("requested_at", _TIME, nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("notes", sa.JSON(), nullable=False),
        sa.Column("file", sa.String(80), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", _TIME, nullable=True),
    )
    op.create_index("handover_by_state", "handover", ["state", "due_at"])
    op.create_index("handover_of_study", "handover", ["study_id", "id"])
    op.create_index("handover_by_expiry", "handover", ["expires_at"])
    op.create_table(
        "sample_facts",
        sa.Column("batch_id", sa.Integer(), sa.ForeignKey("batch.id"), primary_key=True),
        sa.Column("index", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("instances", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("places", sa.Integer(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("concepts", sa.Text(), nullable=False),
        sa.Column("background", sa.Text(), nullable=False),
    )
    op.create_index("sample_facts_by_size", "sample_facts", ["batch_id", "size", "index"])
    op.create_index("sample_facts_by_instances", "sample_facts", ["batch_id", "instances", "index"])
    _fill()


def _fill() -> None:
    """Add the facts of the samples that are there; a million take some minutes."""
    session = op.get_bind()
    for batch_id in session.scalars(sa.select(_BATCH.c.id).where(_BATCH.c.kind == "run")).all():
        last = -1
        while rows := session.execute(
            sa.select(_SAMPLE.c.index, _SAMPLE.c.body)
            .where(_SAMPLE.c.batch_id == batch_id, _SAMPLE.c.index > last)
            .order_by(_SAMPLE.c.index)
            .limit(_AT_A_TIME)
        ).all():
            last = rows[-1][0]
            session.execute(sa.insert(_FACTS), [{"batch_id": batch_id, "index": i, **_facts(body)} for i, body in rows])


def _facts(body: Any) -> dict[str, Any]:
    """Return the values by which a sample is searched and sorted; an unreadable body has no instance."""
    body = json.loads(body) if isinstance(body, str) else body
    try:
        image, instances = body["image"], body["instances"]
        provenance = body["provenance"]
        concepts = list(_photos(provenance["steps"]))
        boxes = [instance["box"] for instance in instances]
        places = 0
        for box in boxes:
            column = min(max(int((box["x"] + box["width"] / 2) * 3 / image["width"]), 0), 2)
            row = min(max(int((box["y"] + box["height"] / 2) * 3 / image["height"]), 0), 2)
            places |= 1 << (3 * row + column)
        return {
            "instances": len(instances),
            "size": round(max((max(box["width"], box["height"]) for box in boxes), default=0)),
            "places": places,
            "labels": _between([instance["label"] for instance in instances]),
            "concepts": _between(concepts),
            "background": provenance["background"]["name"],
        }
    except (KeyError, TypeError):
        return {"instances": 0, "size": 0, "places": 0, "labels": "", "concepts": "", "background": ""}


def _photos(steps: Any) -> Iterator[str]:
    for instance in steps.get("instances") or ():
        if isinstance(key := instance.get("concept"), str):
            yield key.split(":")[0][:_DIGITS]


def _between(words: list[str]) -> str:
    return "".join(f"\n{word}" for word in sorted(set(words))) + "\n" if words else ""


def downgrade() -> None:
    """Move back. The files of downloads stay in the image store, in the folder ``downloads``."""
    op.drop_table("sample_facts")
    op.drop_table("handover")
