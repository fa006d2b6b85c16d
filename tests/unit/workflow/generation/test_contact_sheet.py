"""The contact sheet of a batch shows the images as they are stored, in their order."""

from __future__ import annotations

import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.imaging.codec import decode
from datagen.store.tables.base import BatchKind
from datagen.workflow.generation import shard_samples
from datagen.workflow.generation.contact_sheet import CAPTION, CELL, GAP, cell_of
from datagen.workflow.sample_mapping import sample_of
from fake_studio import FakeStudio
from studio import Study

COUNT, SHOWN = 5, 3


def test_sheet_of_a_run_shows_its_first_stored_images(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_samples, "RUN_CELLS", SHOWN)
    study.act(StudyEvent.APPROVE, count=COUNT)
    studio.settle()
    run = study.batches(BatchKind.RUN)[-1]
    images = studio.services.images
    sheet = decode(images.get(str(run.sheet)), max_bytes=10**7, max_pixels=10**7)
    samples = [sample_of(row) for row in sorted(study.samples_of(run), key=lambda row: row.index)]
    assert len(samples) == COUNT
    shown = min(SHOWN, studio.services.shard_size)
    for place, sample in enumerate(samples[:shown]):
        cell = cell_of(decode(images.get(sample.image.digest), max_bytes=10**7, max_pixels=10**7), sample.instances)
        height, width = cell.shape[:2]
        left, top = GAP + place * (CELL + GAP) + (CELL - width) // 2, GAP + CAPTION
        assert (sheet[top : top + height, left : left + width] == cell).all()
    right = GAP + shown * (CELL + GAP)
    assert len(set(sheet[:, right:].ravel())) == 1  # nothing beside them
