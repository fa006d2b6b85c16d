"""Programs for looking at datasets: their lines load an export; where one is absent, a sentence says how to get it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datagen.domain.sample import Sample
from datagen.errors import InputProblem
from datagen.export.viewer_names import ViewerName
from datagen.export.viewers import VIEWERS, check_installed, open_export
from export_samples import LABELS, Shelf

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
    for module, _ in viewer.also:
        (tmp_path / "modules" / f"{module}.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    folder = export_to(difficult, viewer.format)
    exported = sorted(folder.rglob("*"))
    check_installed(viewer)
    open_export(viewer, folder)
    assert capfd.readouterr().out.startswith(f"opened {folder}")
    assert sorted(folder.rglob("*")) == exported


@pytest.mark.parametrize("name", list(ViewerName))
def test_absent_program_is_a_sentence_that_says_how_to_install_it(name: ViewerName, tmp_path: Path) -> None:
    viewer = VIEWERS[name]
    # an interpreter without any installed package
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o700)
    with pytest.raises(InputProblem) as refusal:
        check_installed(viewer, bare)
    assert f"{' or '.join(viewer.packages)} is not installed for {bare}" in str(refusal.value)
    assert f"{name}/bin/pip install {' '.join(viewer.packages)}, then name it: --python {name}/bin/python" in str(
        refusal.value
    )


def test_interpreter_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match=r"none cannot be run: .*; name a Python interpreter"):
        check_installed(VIEWERS[ViewerName.FIFTYONE], tmp_path / "none")


@pytest.mark.parametrize("given", ["venv/bin/python", "python-of-the-path"])
def test_interpreter_may_be_named_from_here_or_by_the_path(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / given
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text('#!/bin/sh\necho "runs in $PWD, opens $3"\n')
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    viewer = VIEWERS[ViewerName.FIFTYONE]
    check_installed(viewer, Path(given))
    capfd.readouterr()
    open_export(viewer, Path("set"), Path(given))
    printed = capfd.readouterr().out.strip()
    assert printed.endswith(f"opens {tmp_path / 'set'}")
    assert not printed.startswith(f"runs in {tmp_path},")


def test_program_that_fails_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match="fiftyone ended with 1; what it said is above"):
        open_export(VIEWERS[ViewerName.FIFTYONE], tmp_path, Path("/bin/false"))


#: What the programs hold after the first two lines, as JSON: by an image's name, its objects' labels, boxes (x, y,
#: width, height in pixels) and masks [h, w] of ones and zeros; null where the program keeps none.
HELD = {
    ViewerName.FIFTYONE: """
import json, pathlib, numpy as np
held = {}
for sample in dataset.iter_samples():
    sample.compute_metadata()
    width, height = sample.metadata.width, sample.metadata.height
    objects = held[pathlib.Path(sample.filepath).stem] = []
    for boxed, drawn in zip(sample.detections.detections, sample.segmentations.detections, strict=True):
        x, y, w, h = np.multiply(boxed.bounding_box, (width, height, width, height)).tolist()
        left, top = (round(at * side) for at, side in zip(drawn.bounding_box, (width, height)))
        mask = np.zeros((height, width), int)
        mask[top : top + drawn.mask.shape[0], left : left + drawn.mask.shape[1]] = drawn.mask
        objects.append((boxed.label, (x, y, w, h), mask.tolist()))
print(json.dumps(held))
""",
    ViewerName.LIGHTLY: """
import json, pathlib
held = {}
for sample in dataset:
    held[pathlib.Path(sample.file_name).stem] = [
        (boxed.class_name, (boxed.x, boxed.y, boxed.width, boxed.height), None) for boxed in sample.annotations
    ]
print(json.dumps(held))
""",
    ViewerName.ATLAS: """
import io, json, numpy as np
from PIL import Image
from embedding_atlas.cli import load_datasets
held = {}
for row in load_datasets(dataset).to_dict("records"):
    numbers = np.array(Image.open(io.BytesIO(row["mask"]["bytes"])))
    objects = row["objects"]
    held[row["key"]] = [
        (int(label), [float(at) for at in box], (numbers == number).astype(int).tolist())
        for number, label, box in zip(objects["id"], objects["category"], objects["bbox"])
    ]
print(json.dumps(held))
""",
}


@pytest.mark.parametrize("name", list(ViewerName))
def test_program_holds_the_labels_of_the_masks(
    name: ViewerName,
    difficult: list[Sample],
    shelf: Shelf,
    export_to: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lines with the program itself, all but the last, which opens a page.

    DATAGEN_TEST_FIFTYONE_PYTHON (LIGHTLY, ATLAS) names the interpreter of an environment with the program.
    """
    viewer = VIEWERS[name]
    python = os.environ.get(f"DATAGEN_TEST_{name.upper()}_PYTHON", sys.executable)
    try:
        check_installed(viewer, Path(python))
    except InputProblem as absent:
        pytest.skip(str(absent))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    monkeypatch.setenv("LIGHTLY_STUDIO_ANALYTICS_ENABLED", "false")
    folder = export_to(difficult, viewer.format)
    lines = "\n".join((*viewer.lines[:2], HELD[name]))
    command = [python, "-c", lines, str(folder)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    held = json.loads(ended.stdout.splitlines()[-1])
    assert sorted(held) == sorted(sample.provenance.file_stem for sample in difficult)
    for sample in difficult:
        exported = shelf.exported(sample)
        objects = held[sample.provenance.file_stem]
        assert len(objects) == len(sample.instances)
        for label, box, mask in objects:
            number = next(
                i for i, each in enumerate(sample.instances) if label in (each.label, LABELS.index(each.label))
            )
            exact = sample.instances[number].box
            np.testing.assert_allclose(box, (exact.x, exact.y, exact.width, exact.height), atol=0.01)
            if mask is None:
                continue
            inside = exported.mask == number + 1
            drawn = np.array(mask, bool)
            overlap = (drawn & inside).sum() / (drawn | inside).sum()
            # a program draws polygons in its own way, but not what has holes or parts
            polygon = viewer.format == "coco" and len(sample.instances[number].outlines) == 1
            assert overlap > 0.8 if polygon and not exported.rings[number] else overlap == 1
