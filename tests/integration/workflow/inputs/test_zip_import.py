"""Usual zips are read, malicious ones are refused, and no file is left or written elsewhere."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from datagen.domain.inputs import Role
from datagen.errors import InputProblem
from datagen.imaging.png_encoder import encode_png
from datagen.workflow.inputs.import_files import add_files
from studio import Studio, box, plate

pytest_plugins = ("studio_fixtures",)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    def pack(entries: Mapping[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "given" / "inputs.zip"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        return path

    return pack


@pytest.mark.integration
def test_a_zipped_folder_is_added_as_the_folder_would_be(studio: Studio, pack: Callable[..., Path]) -> None:
    study = studio.open_study(inputs=False)
    nasty = "<b>\"&' [red]x.png"
    path = pack({"photos/one.png": encode_png(plate(901)), f"photos/{nasty}": encode_png(plate(902)), "../no.png": b""})
    added = add_files(studio.services, study.name, Role.BACKGROUND, path)
    assert (added.new, added.known, len(added.problems)) == (2, 0, 1)
    again = add_files(studio.services, study.name, Role.BACKGROUND, path)
    assert (again.new, again.known) == (0, 2)
    studio.settle()
    with studio.rows() as session:
        from datagen.workflow.inputs.input_sync import collect

        inputs = collect(session, study.row())
    assert {ref.name for ref in inputs.backgrounds} == {"photos/one.png", f"photos/{nasty}"}


@pytest.mark.integration
def test_a_zipped_task_list_brings_its_boxes_and_the_one_of_the_role_is_taken(
    studio: Studio, pack: Callable[..., Path]
) -> None:
    study = studio.open_study(inputs=False)
    tasks = [
        {"data": {"image": "pictures/one.png"}, "annotations": [{"result": [box(20, 20, 20, 20)]}, "junk"]},
        {"data": ["junk"]},
        {"data": {"image": "../../../etc/passwd"}},
    ]
    entries = {
        "pack/concept.json": json.dumps(tasks).encode(),
        "pack/canvas.json": b"[]",
        "pack/pictures/one.png": encode_png(plate(903)),
    }
    path = pack(entries)
    added = add_files(studio.services, study.name, Role.CONCEPT, path)
    assert (added.new, len(added.problems)) == (1, 2)
    with pytest.raises(InputProblem, match=r"has several task lists \(pack/canvas.json, pack/concept.json\)"):
        add_files(studio.services, study.name, Role.BACKGROUND, path)
