"""Persistent data: database rows (SQLAlchemy, Alembic) and pictures (fsspec). It contains no workflow logic."""
