"""Alembic's entry: runs on the connection that ``Database.upgrade`` hands over."""

from alembic import context

from datagen.store.tables.base import Row

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Row.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
