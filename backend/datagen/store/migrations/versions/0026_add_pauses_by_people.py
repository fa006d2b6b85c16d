"""Add to batches who paused a run, and since when it is paused."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_DELIVERY = sa.table("delivery", sa.column("id", sa.Integer()), sa.column("facts", sa.JSON()))


def upgrade() -> None:
    """Move forward."""
    with op.batch_alter_table("batch") as batch:
        batch.add_column(sa.Column("paused_by", sa.String(200), nullable=True))
        batch.add_column(sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Move back. Paused runs stay paused: earlier versions resume them. Columns are dropped in place.

    The person who paused a run is removed from notifications: earlier versions cannot send one that names a person.
    """
    connection = op.get_bind()
    for delivery_id, facts in connection.execute(sa.select(_DELIVERY.c.id, _DELIVERY.c.facts)).all():
        if "by" in facts:
            without = {name: value for name, value in facts.items() if name != "by"}
            connection.execute(sa.update(_DELIVERY).where(_DELIVERY.c.id == delivery_id).values(facts=without))
    with op.batch_alter_table("batch", recreate="never") as batch:
        batch.drop_column("paused_at")
        batch.drop_column("paused_by")
