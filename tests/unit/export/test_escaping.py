"""Labels of any words leave as those words: in XML, JSON, YAML and text, and never as a path."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import pytest
import yaml

from datagen.export.archive import ExportOptions, write_dataset

LABELS = ("<b>\"&'", "../../etc/passwd", "a: [b, *c] #d", "</name><name>", "中 ü", "- null")


@pytest.fixture
def exported(shelf: Any, mask: npt.NDArray[np.uint8], tmp_path: Path) -> Iterator[zipfile.ZipFile]:
    samples = [shelf.sample(mask, pair, index=n) for n, pair in enumerate(zip(LABELS[::2], LABELS[1::2], strict=True))]
    about: dict[str, Any] = {"study": LABELS[0], "note": "\x1b[2J\n" + LABELS[3]}
    path = tmp_path / "out.zip"
    options = ExportOptions(formats=("coco", "yolo", "voc", "label-studio", "imagefolder"))
    write_dataset(path, samples, labels=LABELS, read=shelf.read, about=about, options=options)
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_no_label_becomes_a_path(exported: zipfile.ZipFile) -> None:
    for name in exported.namelist():
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert name.isascii()


def test_voc_coco_and_yolo_give_every_label_back(exported: zipfile.ZipFile) -> None:
    labels = {
        element.text
        for name in exported.namelist()
        if name.endswith(".xml")
        for element in ET.fromstring(exported.read(name)).iterfind("object/name")
    }
    assert labels == set(LABELS)
    assert [category["name"] for category in json.loads(exported.read("coco.json"))["categories"]] == list(LABELS)
    assert list(yaml.safe_load(exported.read("data.yaml"))["names"].values()) == list(LABELS)
    for line in exported.read("manifest.jsonl").splitlines():
        assert {instance["label"] for instance in json.loads(line)["instances"]} <= set(LABELS)


def test_the_readme_names_them_and_holds_no_control_of_a_terminal(exported: zipfile.ZipFile) -> None:
    text = exported.read("README.txt").decode()
    assert LABELS[0] in text
    assert "\x1b" not in text
