"""The rendered sample: the same bytes every time, and a pack like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stage import metal, plates
from stage.pack import read_pack


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Photos of a quarter of the pixels."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (metal, plates):
            patch.setattr(module, "WIDTH", 256)
            patch.setattr(module, "HEIGHT", 192)
        yield


@pytest.fixture(scope="module")
def folder(_small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plates, "COUNTS", {"concept": 6, "canvas": 6, "background": 6, "test": 4, "reference": 1})
        return plates.write_pack(tmp_path_factory.mktemp("plates"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plates, "COUNTS", {"concept": 2, "canvas": 1, "background": 1, "test": 0, "reference": 0})
    again = files(plates.write_pack(tmp_path / "again"))
    pictures = {name: data for name, data in again.items() if not name.endswith(".json")}
    assert pictures == {name: files(folder)[name] for name in pictures}
    other = files(plates.write_pack(tmp_path / "other", seed=8))
    assert all(other[name] != again[name] for name in again if name.endswith(".jpg"))


def test_it_reads_as_a_pack_without_problems(folder: Path) -> None:
    pack = read_pack(folder)
    assert pack.problems == ()
    assert pack.missing() == ()
    assert pack.labels == ("scratch",)


def test_every_box_holds_a_scratch_of_the_true_mask_and_every_scratch_lies_in_a_box(folder: Path) -> None:
    for task in json.loads((folder / "concept.json").read_text()):
        mask = np.asarray(Image.open(folder / task["data"]["mask"])) > 0
        boxed = np.zeros_like(mask)
        for region in task["annotations"][0]["result"]:
            if region["from_name"] != "concept":
                continue  # an outline, drawn beside its box
            value = region["value"]
            left, top = round(value["x"] * mask.shape[1] / 100), round(value["y"] * mask.shape[0] / 100)
            right = left + round(value["width"] * mask.shape[1] / 100)
            bottom = top + round(value["height"] * mask.shape[0] / 100)
            assert mask[top:bottom, left:right].sum() > 20
            boxed[top:bottom, left:right] = True
        assert not (mask & ~boxed).any()


def test_every_second_test_image_is_plain(folder: Path) -> None:
    reported = [bool(task["annotations"][0]["result"]) for task in json.loads((folder / "test.json").read_text())]
    assert reported == [True, False, True, False]


def test_the_area_lies_on_the_bright_plate_and_not_on_the_dark_table(folder: Path) -> None:
    for task in json.loads((folder / "canvas.json").read_text()):
        photo = np.asarray(Image.open(folder / task["data"]["image"]).convert("L"))
        points = np.array(task["annotations"][0]["result"][0]["value"]["points"]) * photo.shape[::-1] / 100
        on_edge = photo[points[:, 1].astype(int), points[:, 0].astype(int)]
        assert (on_edge > 90).all()
