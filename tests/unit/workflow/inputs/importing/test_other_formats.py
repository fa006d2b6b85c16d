"""COCO, Pascal VOC and YOLO, as their tools and Label Studio write them."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from datagen.domain.inputs import ProjectKind, Role
from datagen.errors import InputProblem
from datagen.label_studio.mapping import region_limits
from datagen.workflow.inputs.importing import sources
from datagen.workflow.inputs.importing.items import Reading
from datagen.workflow.inputs.importing.text_files import MAX_TEXT_BYTES
from import_files_made import THE_BOX, boxes, file, picture, read

SQUARE = [20, 20, 80, 20, 80, 60, 20, 60]


def coco(*annotations: dict[str, Any], **image: Any) -> dict[str, Any]:
    entry = {"id": 7, "file_name": "images/a.png", "width": 200, "height": 100, **image}
    numbered = [{"id": n, "image_id": 7, "category_id": 3, **annotation} for n, annotation in enumerate(annotations, 1)]
    return {"images": [entry], "annotations": numbered, "categories": [{"id": 3, "name": "scratch"}]}


def mask() -> np.ndarray:
    drawn = np.zeros((100, 200), np.uint8)
    drawn[20:60, 20:80] = 1
    return drawn


def run_lengths(*, compressed: bool) -> dict[str, Any]:
    if compressed:
        packed = coco_mask.encode(np.asfortranarray(mask()))
        return {"size": [100, 200], "counts": packed["counts"].decode()}
    flat = mask().T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [100, 200], "counts": np.diff([0, *edges, flat.size]).tolist()}


@pytest.mark.parametrize(
    "thing",
    [
        {"bbox": [20, 20, 60, 40]},
        {"bbox": [20, 20, 60, 40], "segmentation": [SQUARE]},
        {"bbox": [20, 20, 60, 40], "segmentation": []},
        {"segmentation": [SQUARE]},
        {"segmentation": SQUARE},
        {"segmentation": [SQUARE[:6], [20, 20, 80, 60, 20, 60]]},
        {"bbox": [20, 20, 60, 40], "segmentation": run_lengths(compressed=False)},
        {"segmentation": run_lengths(compressed=True)},
    ],
)
def test_coco_s_boxes_polygons_and_both_kinds_of_mask_are_read(thing: dict[str, Any], tmp_path: Path) -> None:
    reading = read(file(tmp_path, "instances.json", coco(thing)))
    assert (boxes(reading), reading.problems) == ([[THE_BOX]], [])


@pytest.mark.parametrize("segmentation", [[SQUARE], run_lengths(compressed=True)])
def test_coco_s_outline_is_the_area_of_a_canvas(segmentation: Any, tmp_path: Path) -> None:
    thing = {"bbox": [0, 0, 200, 100], "segmentation": segmentation}
    reading = read(file(tmp_path, "instances.json", coco(thing)), Role.CANVAS)
    assert boxes(reading, ProjectKind.CANVASES) == [[THE_BOX]]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"bbox": [1, 2, 3]},
        {"bbox": [1, 2, None, 4]},
        {"bbox": [1, 2, float("nan"), 4]},
        {"bbox": [1, 1, 10, 10], "iscrowd": 1},
        {"segmentation": [[1, 2, 3]]},
        {"segmentation": [[*SQUARE, 7]]},
        {"segmentation": 7},
        {"segmentation": {"size": [100, 200], "counts": [1, 2, 3]}},
        {"segmentation": {"size": [100, 200], "counts": [20000, -1, 1]}},
        {"segmentation": {"size": [10, 20], "counts": [200]}},
        {"segmentation": {"size": [100, 200], "counts": "~~~~"}},
        {"segmentation": {"size": [100, 200], "counts": "\x7f" * 50}},
        {"bbox": [1, 1, 10, 10], "category_id": 99},
        {"bbox": [1, 1, 10, 10], "image_id": 99},
    ],
)
def test_bad_coco_annotation_is_reported_and_the_other_is_read(bad: dict[str, Any], tmp_path: Path) -> None:
    reading = read(file(tmp_path, "instances.json", coco(bad, {"bbox": [20, 20, 60, 40]})))
    assert boxes(reading) == [[THE_BOX]]
    assert len(reading.problems) == 1


def test_coco_without_sizes_takes_the_picture_s(tmp_path: Path) -> None:
    reading = read(file(tmp_path, "instances.json", coco({"bbox": [20, 20, 60, 40]}, width=None, height=None)))
    assert boxes(reading) == [[THE_BOX]]


def test_a_folder_of_several_coco_files_is_read_as_one(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        name = f"{part}.png"
        file(tmp_path, f"{part}/_annotations.coco.json", coco({"bbox": [20, 20, 60, 40]}, file_name=name))
        file(tmp_path, f"{part}/{name}", picture())
    assert boxes(read(tmp_path)) == [[THE_BOX], [THE_BOX]]


def test_masks_of_a_picture_of_another_size_are_not_unpacked(tmp_path: Path) -> None:
    """A file of a kilobyte that declares 14,000 by 14,000 pixels cost as much as the picture would."""
    masks = [{"segmentation": {"size": [14_000, 14_000], "counts": [0, 14_000 * 14_000]}}] * 9
    reading = read(file(tmp_path, "instances.json", coco(*masks, width=14_000, height=14_000)))
    assert boxes(reading) == [[]]
    assert len(reading.problems) == 9
    assert "it was drawn on a picture of 14000 × 14000 pixels" in reading.problems[0].reason


def test_masks_of_one_picture_share_one_allowance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = (2 * 200 * 100, "pixels of masks", "paint fewer")
    monkeypatch.setattr(region_limits, "_WHAT", {**region_limits._WHAT, "brush pixels": bound})
    things = [{"segmentation": run_lengths(compressed=True)}] * 5 + [{"bbox": [20, 20, 60, 40]}]
    reading = read(file(tmp_path, "instances.json", coco(*things)))
    assert reading.items[0].draw is not None
    assert len(reading.items[0].draw(200, 100)) == 2 * 2 + 1
    assert {problem.reason for problem in reading.problems} == {
        "with the regions before it, it has more than 40,000 pixels of masks; paint fewer"
    }


def test_two_coco_images_with_one_id_are_reported(tmp_path: Path) -> None:
    export = coco({"bbox": [20, 20, 60, 40]})
    export["images"].append({"id": 7, "file_name": "b.png"})
    reading = read(file(tmp_path, "instances.json", export))
    assert boxes(reading) == [[THE_BOX], []]
    assert [str(problem) for problem in reading.problems] == [
        "instances.json, image 2: it has the id of image 1, which gets what is drawn; number the images anew"
    ]


VOC = """<?xml version="1.0" encoding="utf-8"?><annotation><folder>VOC</folder><filename>a.png</filename>
<size><width>200</width><height>100</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = (
    "<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>21</ymin><xmax>80</xmax><ymax>60</ymax></bndbox></object>"
)


def test_voc_s_boxes_are_read_with_corners_counted_from_one(tmp_path: Path) -> None:
    file(tmp_path, "Annotations/a.xml", VOC.format(objects=OBJECT.format(21, name="scratch")))
    file(tmp_path, "JPEGImages/a.png", picture())
    reading = read(tmp_path)
    assert (boxes(reading), reading.problems) == ([[THE_BOX]], [])
    assert reading.items[0].address == "VOC/a.png"


def test_voc_s_polygons_are_read(tmp_path: Path) -> None:
    corners = "".join(f"<x{n}>{x}</x{n}><y{n}>{y}</y{n}>" for n, (x, y) in enumerate([(20, 20), (80, 20), (80, 60)], 1))
    thing = f"<object><name>scratch</name><polygon>{corners}</polygon></object>"
    reading = read(file(tmp_path, "a.xml", VOC.format(objects=thing)))
    assert (boxes(reading), reading.problems) == ([[THE_BOX]], [])


@pytest.mark.parametrize("left", ["", "x", "nan", "1e300"])
def test_bad_voc_object_is_reported_and_the_other_is_read(left: str, tmp_path: Path) -> None:
    objects = OBJECT.format(left, name="scratch") + OBJECT.format(21, name="scratch") + "<object/>"
    reading = read(file(tmp_path, "a.xml", VOC.format(objects=objects)))
    assert boxes(reading) == [[THE_BOX]]
    assert len(reading.problems) == 2


def test_a_polygon_of_voc_with_very_many_elements_is_read(tmp_path: Path) -> None:
    """Each corner was searched for among all the elements: 73 s for a file of 2 MB."""
    ring = [(110 + 50 * math.cos(n / 1500), 50 + 40 * math.sin(n / 1500)) for n in range(9_000)]
    corners = "".join(f"<x{n}>{x:.3f}</x{n}><y{n}>{y:.3f}</y{n}>" for n, (x, y) in enumerate(ring, 1))
    thing = f"<object><name>scratch</name><polygon>{'<b/>' * 300_000}{corners}</polygon></object>"
    reading = read(file(tmp_path, "a.xml", VOC.format(objects=thing)))
    [[box]] = boxes(reading)
    assert box == ("scratch", 60, 10, 100, 80)
    assert reading.problems == []


@pytest.mark.parametrize("form", ["<pt><x>{0}</x><y>{1}</y></pt>", "<x{2}>{0}</x{2}><y{2}>{1}</y{2}>"])
def test_a_polygon_of_voc_with_too_many_corners_is_refused_and_not_cut(form: str, tmp_path: Path) -> None:
    corners = "".join(form.format(n % 200, n // 200, n + 1) for n in range(12_000))
    thing = f"<object><name>scratch</name><polygon>{corners}</polygon></object>"
    reading = read(file(tmp_path, "a.xml", VOC.format(objects=thing + OBJECT.format(21, name="scratch"))))
    assert boxes(reading) == [[THE_BOX]]
    assert [problem.reason for problem in reading.problems] == ["its polygon has more than 10,000 corners; simplify it"]


def test_xml_that_defines_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
    reading = read(file(tmp_path, "a.xml", bomb))
    assert (reading.items, len(reading.problems)) == ([], 1)
    assert "is no XML that can be read" in reading.problems[0].reason or "no XML" in str(reading.problems[0])


ROWS = {
    "detect": "0 0.25 0.4 0.3 0.4",
    "with a score": "0 0.25 0.4 0.3 0.4 0.93",
    "segment": "0 0.1 0.2 0.4 0.2 0.4 0.6",
    "obb": "0 0.1 0.2 0.4 0.2 0.4 0.6 0.1 0.6",
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("classes", ["data.yaml", "classes.txt"])
def test_yolo_s_rows_are_read(kind: str, classes: str, tmp_path: Path) -> None:
    file(tmp_path, "images/train/a.jpg", picture())
    file(tmp_path, "labels/train/a.txt", ROWS[kind] + "\n")
    file(tmp_path, classes, "names: [scratch, dent]\n" if classes == "data.yaml" else "scratch\ndent\n")
    reading = read(tmp_path)
    assert (boxes(reading), reading.problems) == ([[THE_BOX]], [])
    assert boxes(read(tmp_path, Role.CANVAS), ProjectKind.CANVASES) == [[THE_BOX]]


def test_yolo_s_labels_beside_the_pictures_and_a_names_table_are_read(tmp_path: Path) -> None:
    file(tmp_path, "a.png", picture())
    file(tmp_path, "a.txt", ROWS["detect"])
    file(tmp_path, "plain.png", picture(2))
    file(tmp_path, "data.yaml", "path: ../elsewhere\nnames:\n  0: scratch\n  1: dent\n")
    reading = read(file(tmp_path, "data.yaml", "names: {0: scratch}"))
    assert boxes(reading) == [[THE_BOX], []]
    assert reading.all_notes() == ["pictures without a label file, added without drawings: 1"]


@pytest.mark.parametrize(
    "row",
    [
        "0 0.1 0.2",
        "scratch 0.1 0.2 0.3 0.4",
        "0 20 20 60 40",
        "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7",
        "0.5 .1 .1 .1 .1",
        "0 nan 0 1 1",
    ],
)
def test_bad_yolo_row_is_reported_and_the_other_is_read(row: str, tmp_path: Path) -> None:
    file(tmp_path, "images/a.png", picture())
    file(tmp_path, "labels/a.txt", f"{ROWS['detect']}\n{row}\n")
    file(tmp_path, "labels/lost.txt", ROWS["detect"])
    file(tmp_path, "classes.txt", "scratch\n")
    reading = read(tmp_path)
    assert boxes(reading) == [[THE_BOX]]
    assert [problem.item for problem in reading.problems] == ["labels/lost.txt", "labels/a.txt, row 2"]


DOUBLED = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))


def yolo(folder: Path, classes: str, row: str = ROWS["detect"]) -> Reading:
    """A folder of YOLO's with one picture, read."""
    file(folder, "images/a.png", picture())
    file(folder, "labels/a.txt", row)
    file(folder, "data.yaml", classes)
    return read(folder)


@pytest.mark.parametrize("text", [DOUBLED, "names: &a [*a]", "names: [scratch", "? [1]\n: 2\nnames: [scratch]"])
def test_expanding_or_damaged_yaml_is_reported_and_the_pictures_are_read(text: str, tmp_path: Path) -> None:
    reading = yolo(tmp_path, text)
    boxes(reading)
    assert len(reading.items) == 1
    assert any("the names of the classes cannot be read" in problem.reason for problem in reading.problems)


@pytest.mark.parametrize(
    "line",
    [
        "x: !!int ''",
        "x: !!bool foo",
        "x: !!float ''",
        "x: !!timestamp foo",
        "x: 2024-99-01",
        "x: !!python/object/apply:os.abort []",
        "x: " + ":".join(["1"] * 300) + ".5",
        "x: " + ":".join(["1"] * 60_000),
    ],
)
def test_a_value_of_a_yaml_is_text_whatever_type_it_names(line: str, tmp_path: Path) -> None:
    """Python's readers of these types let every error through, and a number in base 60 cost its length squared."""
    reading = yolo(tmp_path, f"{line}\nnames: [scratch]")
    assert (boxes(reading), reading.problems) == ([[THE_BOX]], [])


@pytest.mark.parametrize("name", ["no", "on", "007", "1_000", "0x10", "2024-01-01", "1e3", "~"])
def test_a_class_keeps_its_name_as_it_stands(name: str, tmp_path: Path) -> None:
    reading = yolo(tmp_path, f"names: [{name}]")
    assert reading.items[0].draw is not None
    [region] = reading.items[0].draw(200, 100)
    assert region["value"]["rectanglelabels"] == [name]


def test_a_folder_is_read_as_its_export_or_as_its_pictures_at_any_depth(tmp_path: Path) -> None:
    for name in ("s1/a.png", "s2/B.PNG", ".hidden/c.png", "__MACOSX/d.png"):
        file(tmp_path, name, picture())
    file(tmp_path, "notes.json", {"version": 1})
    assert [item.name for item in read(tmp_path).items] == ["s1/a.png", "s2/B.PNG"]
    export = [{"data": {"image": "a.png"}}]
    file(tmp_path, "project-1.json", export)
    assert [item.address for item in read(tmp_path).items] == ["a.png"]
    file(tmp_path, "project-2.json", export)
    with pytest.raises(InputProblem, match=r"has several task lists \(project-1.json, project-2.json\)"):
        read(tmp_path)
    assert len(read(tmp_path, Role.BACKGROUND).items) == 2
    file(tmp_path, "background.json", export)
    assert len(read(tmp_path, Role.BACKGROUND).items) == 1


def test_single_picture_is_added_and_one_that_label_studio_refuses_is_reported(tmp_path: Path) -> None:
    assert [item.name for item in read(file(tmp_path, "A.PNG", picture())).items] == ["A.PNG"]
    reading = read(file(tmp_path, "a.tif", b"II*\0"))
    assert (reading.items, len(reading.problems)) == ([], 1)


def reported(reading: Reading) -> list[str]:
    return [str(problem) for problem in reading.problems]


@pytest.mark.parametrize("damaged", [VOC.format(objects="")[:90], VOC.format(objects="").replace("filename", "name")])
def test_bad_voc_file_beside_a_good_one_is_reported(damaged: str, tmp_path: Path) -> None:
    """It was skipped without a report, and its picture too."""
    file(tmp_path, "a.png", picture())
    file(tmp_path, "b.png", picture(2))
    file(tmp_path, "a.xml", VOC.format(objects=OBJECT.format(21, name="scratch")))
    file(tmp_path, "b.xml", damaged)
    reading = read(tmp_path)
    assert boxes(reading) == [[THE_BOX]]
    assert [problem.item for problem in reading.problems] == ["b.xml"]


def test_yolo_picture_of_a_kind_that_label_studio_refuses_is_reported(tmp_path: Path) -> None:
    """Its label file was reported to have no picture in the folder."""
    file(tmp_path, "images/b.tif", b"II*\0")
    file(tmp_path, "images/a.npy", b"cache of a.png")
    file(tmp_path, "labels/b.txt", ROWS["detect"])
    reading = yolo(tmp_path, "names: [scratch]")
    assert boxes(reading) == [[THE_BOX]]
    [problem] = reading.problems
    assert problem.item == "images/b.tif"
    assert "save it as PNG" in problem.reason


def test_a_picture_that_cannot_be_read_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, "a.png", picture())
    file(tmp_path, "b.tif", b"II*\0")
    opened = Path.open

    def refused(path: Path, *mode: Any, **more: Any) -> Any:
        if path.name == "b.tif":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *mode, **more)

    monkeypatch.setattr(Path, "open", refused)
    reading = read(tmp_path)
    assert ([item.name for item in reading.items], reported(reading)) == (
        ["a.png"],
        ["b.tif: it cannot be read (Permission denied)"],
    )


@pytest.mark.parametrize("content", ["[]", "[1, 2, 3]", '{"items": [{"image": "a.png"}]}', '{"shapes": []}', "7"])
def test_json_of_another_form_is_reported_and_the_exports_beside_it_are_read(content: str, tmp_path: Path) -> None:
    file(tmp_path, "a.png", picture())
    file(tmp_path, "notes.json", content)
    reading = read(tmp_path)
    assert [item.name for item in reading.items] == ["a.png"]
    assert reported(reading) == ["notes.json: it is neither a list of tasks nor a COCO file, so it is not used"]
    file(tmp_path, "export.json", [7, {"data": {"image": "a.png"}}])
    reading = read(tmp_path)
    assert [item.address for item in reading.items] == ["a.png"]
    assert sorted(problem.item for problem in reading.problems) == ["export.json, task 1", "notes.json"]


def test_json_of_another_form_with_the_role_s_name_is_refused(tmp_path: Path) -> None:
    file(tmp_path, "export.json", [{"data": {"image": "a.png"}}])
    for content, sentence in (({"items": []}, "is not a list of tasks"), ([], "its list of tasks is empty")):
        file(tmp_path, "concept.json", content)
        with pytest.raises(InputProblem, match=sentence):
            read(tmp_path)


def test_an_empty_list_for_another_role_is_no_problem(tmp_path: Path) -> None:
    file(tmp_path, "canvas.json", [])
    file(tmp_path, "concept.json", [{"data": {"image": "a.png"}}])
    reading = read(tmp_path)
    assert (len(reading.items), reading.problems) == (1, [])


def test_label_studio_s_notes_beside_its_yolo_export_are_no_problem(tmp_path: Path) -> None:
    file(tmp_path, "notes.json", {"categories": [{"id": 0, "name": "scratch"}], "info": {"year": 2026}})
    reading = yolo(tmp_path, "names: [scratch]")
    assert (boxes(reading), reading.problems) == ([[THE_BOX]], [])


def test_candidates_over_the_limit_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MAX_CANDIDATES", 3)
    for number in range(5):
        body = {"id": number, "result": [], "task": {"id": number, "data": {"image": f"{number}.png"}}}
        file(tmp_path, str(number), json.dumps(body))
    reading = read(tmp_path)
    assert len(reading.items) == 3
    assert "it has 5 files that may hold tasks; only 3 are read; split it" in reading.problems[0].reason


def test_exports_of_a_folder_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        path = file(tmp_path, f"{name}.json", coco({"bbox": [20, 20, 60, 40]}))
    monkeypatch.setattr(sources, "_MAX_KEPT_BYTES", path.stat().st_size + 5)
    reading = read(tmp_path)
    assert boxes(reading) == [[THE_BOX]]
    assert "b.json: with the files before it, it has more than" in reported(reading)[0]


def test_links_to_elsewhere_are_named(tmp_path: Path) -> None:
    file(tmp_path, "elsewhere/b.png", picture())
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "b.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "given" / "more").symlink_to(tmp_path / "elsewhere")
    note = r"links to elsewhere are not followed \(b.png, more\): copy the files, or name their folder with --images"
    with pytest.raises(InputProblem, match=f"has no picture files .*; {note}"):
        read(tmp_path / "given")
    file(tmp_path, "given/a.png", picture())
    (tmp_path / "given" / "same").symlink_to(tmp_path / "given")
    reading = read(tmp_path / "given")
    assert [item.name for item in reading.items] == ["a.png"]
    [reported_note] = reading.all_notes()
    assert re.fullmatch(note, reported_note)


def test_folder_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, "a.png", picture())
    file(tmp_path, "closed/b.png", picture())
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    reading = read(tmp_path)
    assert [item.name for item in reading.items] == ["a.png"]
    assert reported(reading) == ["closed: the folder cannot be listed (Permission denied)"]


def test_a_folder_of_a_target_storage_is_read_whole(tmp_path: Path) -> None:
    for number in range(3):
        body = {"id": number, "result": [], "task": {"id": number, "data": {"image": f"{number}.png"}}}
        file(tmp_path, str(number), json.dumps(body))
    assert [item.address for item in read(tmp_path).items] == ["0.png", "1.png", "2.png"]


def test_a_name_that_is_no_text_is_shown_and_its_picture_read(tmp_path: Path) -> None:
    (tmp_path / "pl\udcfcte.png").write_bytes(picture())
    [item] = read(tmp_path).items
    assert item.name == "pl?te.png"


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    with path.open("wb") as opened:
        opened.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(InputProblem, match="split it"):
        read(path)
