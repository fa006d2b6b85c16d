"""Programs for looking at datasets: their lines load an export; where one is absent, a sentence says how to get it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from datagen.domain.sample import Sample
from datagen.errors import InputProblem
from datagen.export.viewer_names import ViewerName
from datagen.export.viewers import VIEWERS, check_installed, open_export

#: Modules with the names that the lines use, which write down how they are called.
STANDINS = {
    "fiftyone": """
import pathlib
class types: COCODetectionDataset = "coco"
class Dataset:
    @staticmethod
    def from_dir(dataset_type, data_path, labels_path):
        assert dataset_type == "coco" and pathlib.Path(labels_path).is_file()
        return data_path
class launch_app:
    def __init__(self, dataset): self.dataset = dataset
    def wait(self): print("opened", self.dataset)
""",
    "lightly_studio": """
import pathlib
class ImageDataset:
    @staticmethod
    def create(): return ImageDataset()
    def add_samples_from_coco(self, annotations_json, images_path, embed, embed_annotations):
        assert pathlib.Path(annotations_json).is_file()
        global loaded
        loaded = images_path
def start_gui(): print("opened", loaded)
""",
    "embedding_atlas": """
import sys, types
cli = types.ModuleType("embedding_atlas.cli")
def main(arguments): print("opened", *arguments)
cli.main = main
sys.modules["embedding_atlas.cli"] = cli
""",
}


@pytest.mark.parametrize("name", list(ViewerName))
def test_lines_open_the_export(
    name: ViewerName,
    difficult: list[Sample],
    export_to: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    viewer = VIEWERS[name]
    assert len(viewer.lines) == 3
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / f"{viewer.module}.py").write_text(STANDINS[viewer.module])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    folder = export_to(difficult, viewer.format)
    check_installed(viewer)
    open_export(viewer, folder)
    assert capfd.readouterr().out.startswith(f"opened {folder}")


@pytest.mark.parametrize("name", list(ViewerName))
def test_absent_program_is_a_sentence_that_says_how_to_install_it(name: ViewerName, tmp_path: Path) -> None:
    viewer = VIEWERS[name]
    # an interpreter without any installed package
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o700)
    with pytest.raises(InputProblem) as refusal:
        check_installed(viewer, bare)
    assert f"{viewer.package} is not installed for {bare}" in str(refusal.value)
    assert f"{name}/bin/pip install {viewer.package}, then name it: --python {name}/bin/python" in str(refusal.value)


def test_interpreter_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match=r"none cannot be run: .*; name a Python interpreter"):
        check_installed(VIEWERS[ViewerName.FIFTYONE], tmp_path / "none")


def test_program_that_fails_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match="fiftyone ended with 1; what it said is above"):
        open_export(VIEWERS[ViewerName.FIFTYONE], tmp_path, Path("/bin/false"))


@pytest.mark.parametrize("name", list(ViewerName))
def test_program_loads_the_export(name: ViewerName, difficult: list[Sample], export_to: Callable[..., Path]) -> None:
    """The lines with the program itself, all but the last, which shows a window.

    DATAGEN_TEST_VIEWER_PYTHON names an interpreter of an environment with the programs.
    """
    viewer = VIEWERS[name]
    python = os.environ.get("DATAGEN_TEST_VIEWER_PYTHON", sys.executable)
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({viewer.module!r}) is None)"
    if subprocess.run([python, "-c", look], check=False).returncode:
        pytest.skip(f"{viewer.package} is not installed")
    folder = export_to(difficult, viewer.format)
    lines = "\n".join((*viewer.lines[:2], "print('loaded', len(list(dataset)))"))
    ended = subprocess.run([python, "-c", lines, str(folder)], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    count = 1 if viewer.format == "parquet" else len(difficult)  # shards, or images
    assert f"loaded {count}" in ended.stdout
