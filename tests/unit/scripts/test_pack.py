"""Reading packs: faulty items are named, and the others are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stage.pack import read_pack
from stage.processes import StageError

BOX = {"type": "rectanglelabels", "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["dent"]}}


def entry(name: str, *regions: dict[str, Any]) -> dict[str, Any]:
    return {"data": {"image": name}, "annotations": [{"result": list(regions)}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pack of two images for each role."""
    for role in ("concept", "canvas", "background"):
        (tmp_path / role).mkdir()
        names = [f"{role}/{number}.png" for number in range(2)]
        for name in names:
            (tmp_path / name).write_bytes(b"any bytes: they are not read here")
        regions = () if role == "background" else (BOX,)
        (tmp_path / f"{role}.json").write_text(json.dumps([entry(name, *regions) for name in names]))
    return tmp_path


def test_a_whole_pack_has_no_problems(folder: Path) -> None:
    pack = read_pack(folder)
    assert pack.problems == ()
    assert [item.name for item in pack.items["canvas"]] == ["canvas/0.png", "canvas/1.png"]
    assert pack.labels == ("dent",)


def test_a_missing_image_is_named_and_the_others_are_used(folder: Path) -> None:
    (folder / "background/1.png").unlink()
    pack = read_pack(folder)
    assert pack.problems == ("background.json, entry 1: the file background/1.png is missing; it is left out.",)
    assert len(pack.items["background"]) == 1
    assert len(pack.items["concept"]) == 2


def test_a_missing_list_is_named_and_the_others_are_used(folder: Path) -> None:
    (folder / "canvas.json").unlink()
    pack = read_pack(folder)
    assert pack.problems == (f"canvas.json is not in {folder}; the study gets no canvas images.",)
    assert len(pack.items["concept"]) == 2
    assert "canvas.json gives 0 usable canvas images; at least 6 are needed." in pack.missing()


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("[{", "concept.json is not JSON"),
        ("{}", "concept.json is not a list of tasks"),
        ('["photo.png"]', "entry 0: it is not a task with data.image"),
        ('[{"data": {}}]', "entry 0: it is not a task with data.image"),
        ('[{"data": {"image": "../secret.png"}}]', "entry 0: ../secret.png points outside the pack"),
        ('[{"data": {"image": "/etc/hostname"}}]', "entry 0: /etc/hostname points outside the pack"),
        ('[{"data": {"image": "concept/0.png"}}]', "entry 0: concept/0.png has no box"),
    ],
)
def test_a_damaged_list_is_a_sentence_and_the_others_are_used(folder: Path, text: str, reported: str) -> None:
    (folder / "concept.json").write_text(text)
    pack = read_pack(folder)
    assert reported in pack.problems[0]
    assert len(pack.items["background"]) == 2


def test_no_pack_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"holds none of concept\.json, canvas\.json, background\.json"):
        read_pack(tmp_path)
    with pytest.raises(StageError, match="is not a folder"):
        read_pack(tmp_path / "nowhere")
