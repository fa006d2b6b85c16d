"""Label Studio's own exports, in every form that it and other programs write: read as a project is read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from datagen.errors import InputProblem
from datagen.workflow.inputs.importing import task_pictures
from datagen.workflow.inputs.importing.csv_tasks import records_of
from import_files_made import THE_BOX, boxes, file, read, rectangle, task

MIN_VALUE = rectangle()["value"] | {"original_width": 200, "original_height": 100}


def labelled_apart(**changes: Any) -> list[dict[str, Any]]:
    """A region of Rectangle with Labels: two results with one id."""
    shape = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    return [
        {"id": "x9", "from_name": "rect", "to_name": "img", "type": "rectangle", "value": shape},
        {
            "id": "x9",
            "from_name": "kind",
            "to_name": "img",
            "type": "labels",
            "value": {**shape, "labels": ["scratch"]},
        },
    ]


FORMS: dict[str, Any] = {
    "a list of tasks": [task()],
    "a single task": task(),
    "tasks in an object": {"tasks": [task()]},
    "old completions": [{"id": 1, "data": {"image": "a.png"}, "completions": [{"id": 1001, "result": [rectangle()]}]}],
    "a single annotation without a list": [{"data": {"image": "a.png"}, "annotations": {"result": [rectangle()]}}],
    "a target storage's annotation": {"id": 3, "result": [rectangle()], "task": {"id": 7, "data": {"image": "a.png"}}},
    "JSON-MIN": [{"id": 3, "image": "a.png", "label": [MIN_VALUE], "annotation_id": 4, "updated_at": "2026-01-01"}],
    "another key": [{"data": {"photo": "a.png"}, "annotations": [{"result": [rectangle()]}]}],
    "an unknown key": [{"data": {"left": "x/a.PNG", "n": 3}, "annotations": [{"result": [rectangle()]}]}],
    "labels apart": [task("a.png", *labelled_apart())],
    "a nested result": [task("a.png", [rectangle()])],  # type: ignore[arg-type]
    "a textual result": [{"data": {"image": "a.png"}, "annotations": [{"result": json.dumps([rectangle()])}]}],
    "several labels": [task("a.png", {**rectangle(), "value": MIN_VALUE | {"rectanglelabels": ["car", "scratch"]}})],
    "a label in capitals": [task("a.png", rectangle(label="Scratch "))],
    "a negative extent": [task("a.png", rectangle(40, 60, -30, -40))],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_box_is_read_in_every_form(form: str, tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", FORMS[form]))
    assert boxes(reading) == [[THE_BOX]]
    assert reading.problems == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_byte_order_marks_and_wide_encodings_are_read(encoding: str, tmp_path: Path) -> None:
    reading = read(file(tmp_path, "EXPORT.JSON", json.dumps([task("ü.png")], ensure_ascii=False), encoding))
    assert (reading.items[0].address, boxes(reading)) == ("ü.png", [[THE_BOX]])


def test_an_old_code_page_is_read(tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", json.dumps([task("ü.png")], ensure_ascii=False), "cp1252"))
    assert reading.items[0].address == "ü.png"


@pytest.mark.parametrize("name", ["export.jsonl", "export.ndjson", "export.json", "EXPORT.JSONL"])
def test_one_task_a_line_is_read_and_a_bad_line_is_reported(name: str, tmp_path: Path) -> None:
    lines = [json.dumps(task("a.png")), json.dumps(task("b.png")), "", '{"data": {"image": "c.p']
    reading = read(file(tmp_path, name, "\r\n".join(lines)))
    assert boxes(reading) == [[THE_BOX], [THE_BOX]]
    assert [problem.item.rpartition("/")[2] for problem in reading.problems] == [f"{name}, line 4"]


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ","), (".tsv", "\t"), (".CSV", ";")])
def test_a_table_is_read(suffix: str, delimiter: str, tmp_path: Path) -> None:
    stream = io.StringIO()
    columns = ["annotation_id", "annotator", "id", "image", "label", "quality", "updated_at"]
    writer = csv.DictWriter(stream, columns, delimiter=delimiter, quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    row = {"annotator": 1, "image": "a.png", "quality": "high", "id": 5}
    older = MIN_VALUE | {"x": 50}
    writer.writerow(row | {"annotation_id": 8, "label": json.dumps([MIN_VALUE]), "updated_at": "2026-03-02T10:00:00Z"})
    writer.writerow(row | {"annotation_id": 9, "label": json.dumps([older]), "updated_at": "2026-03-01T10:00:00Z"})
    writer.writerow(row | {"annotation_id": "", "id": 6, "image": "b.png", "label": "", "updated_at": ""})
    reading = read(file(tmp_path, f"export{suffix}", stream.getvalue()))
    assert boxes(reading) == [[THE_BOX], []]


def test_a_table_whose_first_row_names_no_picture_is_read(tmp_path: Path) -> None:
    file(tmp_path, "export.csv", "image,id\n,1\na.png,2\nb.png,3\n")
    reading = read(tmp_path)
    assert [item.address for item in reading.items] == ["a.png", "b.png"]
    assert [str(problem) for problem in reading.problems] == ["export.csv, row 1: its data names no picture"]


def test_table_that_names_no_picture_is_reported_and_the_pictures_are_read(tmp_path: Path) -> None:
    file(tmp_path, "a.png", b"1")
    file(tmp_path, "sizes.csv", "station,count\n1,2\n")
    reading = read(tmp_path)
    assert [item.name for item in reading.items] == ["a.png"]
    assert [str(problem) for problem in reading.problems] == [
        "sizes.csv: no row of it names a picture, so it is not used"
    ]


def test_rows_lost_to_a_stray_quote_are_reported(tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.csv", 'image,id\na.png,1\n"b.png,2\nc.png,3\nd.png,4\n'))
    assert reading.items[0].address == "a.png"
    [problem] = [problem for problem in reading.problems if "close the quote" in problem.reason]
    assert problem.item == "export.csv, row 2"


def test_a_table_of_very_many_columns_is_refused_and_a_short_row_is_not_filled(tmp_path: Path) -> None:
    """A row is filled up to the first one's columns: 5 MB of a file became gigabytes."""
    wide = ",".join(["image", *(f"c{number}" for number in range(1_000))])
    with pytest.raises(InputProblem, match="has more than 1,000 columns"):
        read(file(tmp_path, "export.csv", f"{wide}\na.png\n"))
    assert records_of("image,other\na.png\n", "export.csv") == [{"image": "a.png"}]


def annotation(x: float, **more: Any) -> dict[str, Any]:
    return {"result": [rectangle(x)], **more}


@pytest.mark.parametrize(
    "annotations",
    [
        [annotation(10, updated_at="2026-03-02T10:00:00Z"), annotation(60, updated_at="2026-03-01T10:00:00Z")],
        [annotation(60, updated_at="2026-03-01T10:00:00Z"), annotation(10, updated_at="2026-03-02T10:00:00Z")],
        [annotation(10, updated_at="2026-03-01T23:30:00-05:00"), annotation(60, updated_at="2026-03-02T03:00:00Z")],
        [annotation(60, created_at="2026-03-01T10:00:00Z"), annotation(10, created_at="2026-03-02T10:00:00.5Z")],
        [annotation(60, created_at=1_600_000_000), annotation(10, created_at=1_700_000_000)],
        [annotation(60, id=4), annotation(10, id=12)],
        [annotation(60), annotation(10)],
        [annotation(10, id=1), annotation(60, id=2, was_cancelled=True)],
        [annotation(60, id=2, skipped=True), annotation(10, id=1)],
        [annotation(10, updated_at="2026-03-01"), annotation(60, updated_at="2026-03-02", was_cancelled="true")],
        [annotation(10, updated_at="2026-03-01"), annotation(60, updated_at="yesterday")],
    ],
)
def test_the_newest_annotation_that_is_no_skip_counts(annotations: list[Any], tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", [{"data": {"image": "a.png"}, "annotations": annotations}]))
    assert boxes(reading) == [[THE_BOX]]


def test_task_that_was_only_skipped_is_left_out_and_reported(tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", [task("a.png", was_cancelled=True), task("b.png")]))
    assert [item.address for item in reading.items] == ["b.png"]
    assert list(map(str, reading.problems)) == ["export.json, task 1: it was only ever skipped, so it is left out"]


def test_predictions_and_drafts_are_not_used_and_a_note_says_so(tmp_path: Path) -> None:
    guessed = {"data": {"image": "a.png"}, "predictions": [{"result": [rectangle()]}]}
    drafted = {"data": {"image": "b.png"}, "annotations": [], "drafts": [{"result": [rectangle()]}]}
    reading = read(file(tmp_path, "export.json", [guessed, guessed | {"data": {"image": "c.png"}}, drafted]))
    assert boxes(reading) == [[], [], []]
    assert reading.all_notes() == [
        "tasks with predictions only, added without drawings because they are not confirmed: 2",
        "tasks with a draft that was not submitted, added without drawings: 1",
    ]


def test_several_pictures_of_a_task_get_each_what_was_drawn_on_it(tmp_path: Path) -> None:
    left, right = {**rectangle(), "to_name": "left"}, {**rectangle(50), "to_name": "right"}
    several = {"data": {"left": "a.png", "right": "b.png"}, "annotations": [{"result": [left, right]}]}
    pages = {
        "data": {"pages": ["1.png", "2.png"]},
        "annotations": [{"result": [{**rectangle(), "item_index": 1}]}],
    }
    lost = {"data": {"one": "c.png", "two": "d.png"}, "annotations": [{"result": [rectangle()]}]}
    reading = read(file(tmp_path, "export.json", [several, pages, lost]))
    assert [item.address for item in reading.items] == ["a.png", "b.png", "1.png", "2.png", "c.png", "d.png"]
    assert boxes(reading) == [[THE_BOX], [("scratch", 100, 20, 60, 40)], [], [THE_BOX], [], []]
    [problem] = reading.problems
    assert "on which of its pictures a region was drawn is not in the file" in problem.reason


def test_regions_of_very_many_pictures_are_sorted_out_by_their_tags_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each region was compared with every key of the data, whatever their length."""
    matched = []
    match = task_pictures._Places._match

    def counted(self: Any, key: str) -> list[int]:
        matched.append(key)
        return match(self, key)

    monkeypatch.setattr(task_pictures._Places, "_match", counted)
    pictures = task_pictures.pictures_of({f"photo{n} " + "x" * 10_000: "a.png" for n in range(100)})
    regions = [{"to_name": "photo7 " + "x" * 10_000}] * 3_000 + [{"to_name": "other"}] * 3_000
    sorted_out, problems = task_pictures.assigned(regions, pictures, None)
    assert [len(drawn) for drawn in sorted_out if drawn] == [3_000]
    assert len(matched) == 2
    assert problems[0] == "it has more than 5,000 results; the rest is not read"
    assert "on which of its pictures a region was drawn is not in the file" in problems[1]


def test_pictures_beside_image_are_named(tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", [task() | {"data": {"image": "a.png", "reference": "b.png"}}]))
    assert reading.all_notes() == ["tasks that name further pictures beside “image”, which are not used: 1"]


@pytest.mark.parametrize(
    "bad",
    [
        rectangle(float("nan")),
        rectangle(float("inf")),
        rectangle(None, None, None, None),
        rectangle("10"),
        rectangle(10**400),
        {**rectangle(), "value": None},
        {**rectangle(), "value": MIN_VALUE | {"rectanglelabels": []}},
        {**rectangle(), "value": MIN_VALUE | {"rectanglelabels": "rust"}},
        rectangle(label="ru\ud83dst"),
        {**rectangle(), "image_rotation": 90},
        {**rectangle(), "original_width": 100, "original_height": 200},
        {**rectangle(), "original_width": 300, "original_height": 300},
        {"type": "keypointlabels", "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["scratch"]}},
        {"type": "videorectangle", "value": {"labels": ["scratch"]}},
        7,
        "text",
    ],
)
def test_unusable_region_is_reported_and_the_other_is_read(bad: Any, tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", [task("a.png", bad, rectangle())]))
    assert boxes(reading) == [[THE_BOX]]
    assert len(reading.problems) == 1
    assert all(letter.isprintable() for letter in str(reading.problems[0]).encode("utf-8").decode())


def test_unknown_label_is_reported_with_the_labels_of_the_study(tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", [task("a.png", rectangle(label="crack"))]))
    assert boxes(reading) == [[]]
    assert "the study has no label “crack” (it has: scratch, dent)" in str(reading.problems[0])
    assert "--label 'crack=scratch'" in str(reading.problems[0])


def test_half_a_character_beside_a_region_costs_nothing(tmp_path: Path) -> None:
    comment = {"type": "textarea", "from_name": "c", "value": {"text": ["bad\ud83dhalf"]}}
    reading = read(file(tmp_path, "export.json", [task("a.png", comment, rectangle())]))
    assert (boxes(reading), reading.problems) == ([[THE_BOX]], [])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[1, 2", "is not a JSON file that can be read"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "names no picture"),
        ('{"a": 1}', "is not a list of tasks, as Label Studio exports it, nor a COCO file"),
        ('"text"', "is not a list of tasks, as Label Studio exports it"),
    ],
)
def test_file_that_is_no_export_is_an_error_that_names_it(content: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match=rf"export\.json .*{sentence}"):
        read(file(tmp_path, "export.json", content))


@pytest.mark.parametrize("entry", [7, None, "text", [], {"data": 7}, {"data": {}}, {"data": {"image": 7}}, {"id": 4}])
def test_a_malformed_task_costs_itself_alone(entry: Any, tmp_path: Path) -> None:
    reading = read(file(tmp_path, "export.json", [task(), entry, task("b.png")]))
    assert boxes(reading) == [[THE_BOX], [THE_BOX]]
    assert [problem.item for problem in reading.problems] == ["export.json, task 2"]


def test_a_number_of_too_many_digits_costs_its_region_and_not_the_file(tmp_path: Path) -> None:
    text = json.dumps([task("a.png", rectangle(7), rectangle())]).replace('"x": 7', f'"x": {"1" * 5000}')
    reading = read(file(tmp_path, "export.json", text))
    assert boxes(reading) == [[THE_BOX]]
    assert "its x is not a number" in str(reading.problems[0])
