"""A machine that can start no threads answers that no part was found to work, and not with an error of its own."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from redis import Redis

from datagen.operations.health import label_studio_health, readiness
from datagen.queue.queues import Queues
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database


def test_part_whose_check_cannot_be_started_counts_as_not_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    images = BlobStore(f"file://{tmp_path}/images")
    with monkeypatch.context() as full, Redis() as redis, label_studio_health("http://127.0.0.1:9") as label_studio:
        full.setattr(threading.Thread, "start", refuse)
        parts = readiness(database, Queues(redis), label_studio, images)
    database.close()
    assert set(parts.values()) == {False}
