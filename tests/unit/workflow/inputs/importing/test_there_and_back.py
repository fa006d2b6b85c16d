"""An export is read again by ``datagen add``: the same boxes, and the same pixels where there are shapes."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from datagen.domain.inputs import ConceptRegion, ProjectKind, Role
from datagen.domain.sample import Sample
from datagen.label_studio.mapping.region_mapping import LabelNames, map_regions
from datagen.label_studio.mapping.regions import canvas_areas, concept_regions
from datagen.synthesis.masks import rasterize
from datagen.workflow.inputs.importing.items import Item, Reading
from export_samples import LABELS, difficult_masks, export_to, shelf
from import_files_made import read

__all__ = ["export_to", "shelf"]

ExportTo = Callable[..., Path]
NAMES = LabelNames(labels=LABELS, aliases={})
#: Pixels of a part whose outline may cover less than the smallest area that is read.
SMALL_PX = 12
#: Format → what is given to ``datagen add``, and whether it has shapes.
GIVEN = {
    "coco": ("coco.json", True),
    "yolo": ("data.yaml", False),
    "yolo-segment": ("data.yaml", True),
    "voc": ("Annotations", False),
    "label-studio": ("label_studio.json", True),
    "label-studio-brush": ("label_studio.json", True),
    "semantic": ("", True),  # a folder with images, masks and the manifest
    "manifest": ("manifest.jsonl", True),
}


@pytest.fixture
def samples(shelf: Any) -> list[Sample]:
    """Holes, parts, parts in holes and edges; parts of less than four square pixels are left out by ``datagen add``."""
    samples = []
    for i, drawn in enumerate(difficult_masks().values()):
        for value in (1, 2):
            _, parts, stats, _ = cv2.connectedComponentsWithStats((drawn == value).astype(np.uint8), connectivity=8)
            drawn[np.isin(parts, np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < SMALL_PX))] = 0
        samples.append(shelf.sample(drawn, LABELS, index=i))
    return samples


def read_back(reading: Reading, sizes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[ConceptRegion, ...]]:
    """The examples of each image, by the stem of its file, as the study reads its own project's annotation."""
    examples = {}
    for item in reading.items:
        stem = stem_of(item)
        width, height = sizes[stem]
        mapped = map_regions(item.draw(width, height) if item.draw else [], ProjectKind.CONCEPTS, width, height, NAMES)
        assert mapped.problems == ()
        examples[stem], problems = concept_regions(mapped.results, width, height, LABELS)
        assert problems == ()
    return examples


def stem_of(item: Item) -> str:
    return Path(item.address or str(item.file)).stem


def covered(region: ConceptRegion, height: int, width: int) -> npt.NDArray[np.bool_]:
    pixels = np.zeros((height, width), bool)
    for part in region.outline:
        pixels |= rasterize(np.array(part.points), (height, width))
    return pixels


@pytest.mark.parametrize("name", GIVEN)
def test_labels_are_read_again_to_the_pixel(shelf: Any, samples: list[Sample], export_to: ExportTo, name: str) -> None:
    folder = export_to(samples, *([] if name == "manifest" else [name]))
    given, has_shapes = GIVEN[name]
    reading = read(folder / given)
    by_name = read_back(reading, {s.provenance.file_stem: (s.image.width, s.image.height) for s in samples})
    assert reading.problems == []
    assert set(by_name) == {sample.provenance.file_stem for sample in samples}
    for sample in samples:
        exported = shelf.exported(sample)
        for number, instance in enumerate(sample.instances):
            regions = [region for region in by_name[exported.name] if region.label == instance.label]
            if name != "label-studio-brush":  # without a box, each stroke of a brush mask is an example
                (region,) = regions
                sides = (region.box.x, region.box.y, region.box.width, region.box.height)
                box = instance.box
                slack = (
                    0.5 if name == "label-studio" else 0.001
                )  # an outline runs through the middle of the pixels' edges
                assert sides == pytest.approx((box.x, box.y, box.width, box.height), abs=slack)
            if has_shapes:
                pixels = sum(covered(region, *exported.mask.shape) for region in regions)
                np.testing.assert_array_equal(pixels, exported.inside(number))


def test_turned_boxes_are_read_as_outlines(shelf: Any, samples: list[Sample], export_to: ExportTo) -> None:
    reading = read(export_to(samples, "yolo-obb") / "data.yaml")
    by_name = read_back(reading, {s.provenance.file_stem: (s.image.width, s.image.height) for s in samples})
    for sample in samples:
        exported = shelf.exported(sample)
        for number, region in enumerate(sorted(by_name[exported.name], key=lambda region: LABELS.index(region.label))):
            outside = exported.inside(number) & ~covered(region, *exported.mask.shape)
            assert outside.sum() <= 2  # a pixel's centre on the edge


@pytest.mark.parametrize("zipped", [False, True])
def test_whole_export_is_read_by_its_manifest_and_masks_are_no_pictures(
    samples: list[Sample], export_to: ExportTo, tmp_path: Path, zipped: bool
) -> None:
    folder = export_to(samples, "coco", "yolo", "voc", "semantic", "label-studio", "imagefolder")
    if zipped:
        with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
            for path in folder.rglob("*.*"):
                archive.write(path, path.relative_to(folder))
        zipfile.ZipFile(tmp_path / "set.zip").extractall(tmp_path / "unpacked")
        folder = tmp_path / "unpacked"
    reading = read(folder)
    assert [item.address for item in reading.items] == [
        f"images/{sample.provenance.file_stem}.png" for sample in samples
    ]
    backgrounds = read(folder, Role.BACKGROUND)
    assert {Path(str(item.file)).parent.name for item in backgrounds.items} == {"images"}
    assert len(backgrounds.items) == len(samples)


def test_areas_of_a_canvas_are_read_from_a_manifest(shelf: Any, samples: list[Sample], export_to: ExportTo) -> None:
    reading = read(export_to(samples), Role.CANVAS)
    for item, sample in zip(reading.items, samples, strict=True):
        exported = shelf.exported(sample)
        height, width = exported.mask.shape
        assert item.draw is not None
        mapped = map_regions(item.draw(width, height), ProjectKind.CANVASES, width, height, NAMES)
        areas, problems = canvas_areas(mapped.results, width, height, LABELS)
        assert (mapped.problems, problems) == ((), ())
        for number, label in enumerate(LABELS):
            pixels = np.zeros((height, width), bool)
            for area in areas:
                if area.label == label:
                    pixels |= rasterize(np.array(area.polygon.points), (height, width))
            np.testing.assert_array_equal(pixels, exported.inside(number))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"label": None}, "it has no label"),
        ({"outlines": [], "holes": []}, "it has no outlines"),
        ({"outlines": [[[0, 0], [1, 1]]]}, "its outlines have a line that is no list of 3 to 10,000 corners"),
        ({"outlines": "all"}, "its outlines are no list of at most 200 lines"),
        ({"holes": [[[0, 0], [1, 1], [1, 0]]] * 201}, "its holes are no list of at most 200 lines"),
        (
            {"outlines": [[[0, 0], [1, 1]] * 1_000] * 26, "holes": []},
            "its outlines and holes have 52,000 corners, at most 50,000 are read",
        ),
        ({"box": [1, 2]}, "its box is no list of 4 numbers or more"),
    ],
)
def test_damaged_instance_of_a_manifest_is_reported(
    samples: list[Sample], export_to: ExportTo, change: dict[str, Any], reason: str
) -> None:
    import json

    folder = export_to(samples[:1])
    line = json.loads((folder / "manifest.jsonl").read_text())
    line["instances"][0] |= change
    (folder / "manifest.jsonl").write_text(json.dumps(line) + "\n")
    reading = read(folder)
    (item,) = reading.items
    assert item.draw is not None
    assert item.draw(200, 160)  # the other instance
    assert [(note.item, note.reason) for note in reading.problems] == [("manifest.jsonl, line 1, instance 1", reason)]


def test_images_of_a_set_keep_their_pixels(samples: list[Sample], export_to: ExportTo, shelf: Any) -> None:
    folder = export_to(samples)
    for sample in samples:
        with Image.open(folder / "images" / f"{sample.provenance.file_stem}.png") as picture:
            assert picture.size == (sample.image.width, sample.image.height)
