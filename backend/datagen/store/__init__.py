"""What must survive: rows (SQLAlchemy, Alembic) and pictures (fsspec). Decides nothing."""
