"""Ultralytics’ own check takes the labels of every YOLO format. It is AGPL: installed by hand, never a dependency."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datagen.domain.sample import Sample
from export_samples import LABELS


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], Any]:
    """A function that checks an image and its labels."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "ultralytics"))
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    utils = pytest.importorskip("ultralytics.data.utils", reason="ultralytics (AGPL) is not installed")

    def verify(image: Path, labels: Path) -> Any:
        return utils.verify_image_label((str(image), str(labels), "", False, len(LABELS), 0, 0, False))

    return verify


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["yolo", "yolo-segment", "yolo-obb"])
def test_labels_pass_the_check_and_are_read_back(
    difficult: list[Sample],
    shelf: Any,
    export_to: Callable[..., Path],
    verify: Callable[[Path, Path], Any],
    name: str,
) -> None:
    folder = export_to(difficult, name)
    for sample in difficult:
        stem = sample.provenance.file_stem
        _, rows, shape, segments, _, missing, labelled, empty, corrupt, message = verify(
            folder / "images" / f"{stem}.png", folder / "labels" / f"{stem}.txt"
        )
        assert (missing, labelled, empty, corrupt, message) == (0, 1, 0, 0, "")
        height, width = shape
        assert (height, width) == shelf.exported(sample).mask.shape
        assert sorted(rows[:, 0]) == [0, 1]
        assert len(segments) == (0 if name == "yolo" else 2)
        if name != "yolo-obb":  # the smallest turned box is not the upright one
            for row in rows:
                box = sample.instances[int(row[0])].box
                centre = (box.x + box.width / 2, box.y + box.height / 2)
                np.testing.assert_allclose(
                    row[1:] * (width, height, width, height), (*centre, box.width, box.height), atol=0.01
                )
