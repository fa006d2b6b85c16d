"""Bad input: a sentence in the decision task names the item, the others are used, nothing is lost.

Pictures come in both ways that people use: an upload into Label Studio, as its page does it, and ``datagen add``.
"""

from __future__ import annotations

import html
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image

from datagen.domain.inputs import Inputs, ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import InputProblem, NotReady
from datagen.imaging.png_encoder import encode_png
from datagen.workflow.inputs.import_files import Added, add_files
from datagen.workflow.inputs.input_sync import collect
from studio import HEIGHT, WIDTH, Studio, Study, asked, box, good_inputs, plate, polygon

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def png_of_size(width: int, height: int) -> bytes:
    """A file of some hundred bytes that declares a black picture of that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((width + 7) // 8 + 1) * 64)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def odd_pictures() -> dict[str, bytes]:
    """Pictures of unusual kinds, by file name."""
    grey = Image.fromarray(plate(300))
    colour = grey.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    jpeg = saved(colour, "JPEG", quality=90)
    frames = [Image.fromarray(plate(seed)) for seed in (301, 302)]
    return {
        "cut-short.png": encode_png(plate(303))[:2000],
        "cut-short.jpg": jpeg[: len(jpeg) // 2],
        "bomb.png": png_of_size(60_000, 60_000),
        "cmyk.jpg": saved(colour.convert("CMYK"), "JPEG"),
        "deep.png": encode_png(plate(304).astype(np.uint16) * 257),
        "see-through.png": saved(colour.convert("RGBA"), "PNG"),
        "on-its-side.jpg": saved(Image.fromarray(plate(305)).convert("RGB"), "JPEG", exif=exif),
        "still.gif": saved(Image.fromarray(plate(306)), "GIF"),
        "moving.gif": saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="4"/></svg>',
    }


#: What each gets: a part of the sentence, or the size [width, height] with which it is used.
FATES: dict[str, str | tuple[int, int]] = {
    "cut-short.png": "the PNG file is truncated or damaged",
    "cut-short.jpg": "the JPEG file is truncated or damaged",
    "bomb.png": "the picture is 60,000 by 60,000 pixels, at most 1,000,000 are accepted in all; crop it",
    "cmyk.jpg": (WIDTH, HEIGHT),
    "deep.png": (WIDTH, HEIGHT),
    "see-through.png": (WIDTH, HEIGHT),
    "on-its-side.jpg": (HEIGHT, WIDTH),
    "still.gif": (WIDTH, HEIGHT),
    "moving.gif": "the file is an animated GIF with several frames; save the one you mean as PNG and add that",
    "drawing.svg": "the file is an SVG drawing, which has no pixels",
}


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def read(studio: Studio, study: Study) -> Inputs:
    with studio.rows() as session:
        return collect(session, study.row())


def upload(studio: Studio, project_id: int, files: dict[str, bytes]) -> None:
    """Upload files as Label Studio's page does: the log-in is a session, each file becomes a task."""
    with closing(studio.server.session()) as browser:
        answer = browser.post(
            f"/api/projects/{project_id}/import?commit_to_project=true",
            files=[(name, (name, data)) for name, data in files.items()],
            headers={"X-CSRFToken": browser.cookies["csrftoken"]},
        )
        assert answer.status_code == httpx.codes.CREATED, answer.text


@pytest.fixture(scope="module")
def uploaded(whole_studio: Studio, shared_study: Study) -> tuple[Inputs, str]:
    """The study's inputs and its decision task, after all the odd pictures were uploaded."""
    upload(whole_studio, shared_study.projects[ProjectKind.BACKGROUNDS], odd_pictures())
    whole_studio.settle()
    inputs_and_page = read(whole_studio, shared_study), text(shared_study.page())
    whole_studio.client.delete_tasks(
        shared_study.projects[ProjectKind.BACKGROUNDS],
        [task.id for task in shared_study.tasks(ProjectKind.BACKGROUNDS) if "datagen_key" not in task.data],
    )
    whole_studio.settle()
    return inputs_and_page


@pytest.mark.parametrize("name", FATES)
def test_an_uploaded_odd_picture_is_used_or_named_with_its_reason(name: str, uploaded: tuple[Inputs, str]) -> None:
    inputs, page = uploaded
    fate = FATES[name]
    if isinstance(fate, str):
        reasons = [problem.reason for problem in inputs.problems if name in problem.item]
        assert len(reasons) == 1
        assert fate in reasons[0]
        assert re.search(rf"Background task \d+ \({re.escape(name)}\): {re.escape(fate)}", page)
    else:
        assert [(ref.width, ref.height) for ref in inputs.backgrounds if ref.name == name] == [fate]
        assert name not in page


def test_odd_pictures_take_nothing_from_the_others(uploaded: tuple[Inputs, str]) -> None:
    inputs, page = uploaded
    usable = sum(isinstance(fate, tuple) for fate in FATES.values())
    assert (len(inputs.concepts), len(inputs.canvases), len(inputs.backgrounds)) == (6, 6, 6 + usable)
    assert "Not used (everything else is):" in page


@pytest.fixture(scope="module")
def added(whole_studio: Studio, shared_study: Study, tmp_path_factory: pytest.TempPathFactory) -> Added:
    """The output of ``datagen add`` for a folder with all the odd pictures and one plain one."""
    folder = tmp_path_factory.mktemp("odd")
    for name, data in (odd_pictures() | {"plain.png": encode_png(plate(310)), "notes.txt": b"not a picture"}).items():
        (folder / name).write_bytes(data)
    return add_files(whole_studio.services, shared_study.name, Role.BACKGROUND, folder)


@pytest.mark.parametrize("name", FATES)
def test_an_odd_picture_in_a_folder_is_added_or_named_with_its_reason(name: str, added: Added) -> None:
    fate = FATES[name]
    message = [problem for problem in added.problems if problem.startswith(f"{name}: ")]
    if isinstance(fate, str):
        assert len(message) == 1
        assert fate in message[0]
    else:
        assert message == []


def test_a_folder_is_added_as_far_as_it_can_be_and_once(
    added: Added, studio: Studio, study: Study, tmp_path: Path
) -> None:
    usable = sum(isinstance(fate, tuple) for fate in FATES.values()) + 1
    assert (added.new, added.known) == (usable, 0)
    (tmp_path / "plain again.png").write_bytes(encode_png(plate(310)))
    again = add_files(studio.services, study.name, Role.BACKGROUND, tmp_path)
    assert (again.new, again.known, again.problems) == (0, 1, ())


# -- what is drawn


@pytest.fixture
def given(studio: Studio, study: Study) -> Iterator[list[int]]:
    """Task ids to be deleted when the test is over: its bad input is not the next test's."""
    tasks: list[int] = []
    yield tasks
    for project_kind in (ProjectKind.CONCEPTS, ProjectKind.CANVASES, ProjectKind.BACKGROUNDS):
        present = {task.id for task in study.tasks(project_kind)}
        studio.client.delete_tasks(study.projects[project_kind], sorted(present & set(tasks)))
    studio.settle()


def test_a_box_with_no_area_and_a_label_not_in_the_project_are_named_and_other_boxes_used(
    studio: Studio, study: Study, given: list[int]
) -> None:
    drawn = [box(20, 20, 0, 10), box(30, 30, 12, 12), box(50, 50, 10, 10, label="rust")]
    given += study.give(Role.CONCEPT, [("boxes.png", encode_png(plate(311, pit=(45, 35))), drawn)])
    studio.settle()

    page = text(study.page())
    named = f"Concept task {given[0]} (boxes.png): "
    assert f"{named}box 1 (“pit”): the box has no area; draw it again round the whole object." in page
    assert f"{named}box 3: its label “rust” is none of the study's (pit); choose one of them." in page
    concept = next(
        concept_photo for concept_photo in read(studio, study).concepts if concept_photo.image.name == "boxes.png"
    )
    assert len(concept.regions) == 1


def test_polygons_of_two_points_or_outside_are_named_and_one_that_crosses_itself_is_used(
    studio: Studio, study: Study, given: list[int]
) -> None:
    picture = encode_png(plate(312))
    given += study.give(
        Role.CANVAS,
        [
            ("two-points.png", picture, [polygon([(10, 10), (90, 90)])]),
            ("outside.png", encode_png(plate(313)), [polygon([(110, 110), (150, 110), (150, 150)])]),
            ("crossing.png", encode_png(plate(314)), [polygon([(10, 10), (90, 90), (90, 10), (10, 90)])]),
        ],
    )
    studio.settle()

    page = text(study.page())
    assert f"Canvas task {given[0]} (two-points.png): polygon 1 (“area”): the polygon has 2 different corners" in page
    assert f"Canvas task {given[1]} (outside.png): polygon 1 (“area”): the polygon lies outside the image" in page
    assert "crossing.png" not in page
    inputs = read(studio, study)
    assert len(inputs.canvases) == 7
    crossing = next(canvas for canvas in inputs.canvases if canvas.image.name == "crossing.png")
    assert len(crossing.areas) == 2
    assert sum(area.polygon.area for area in crossing.areas) == pytest.approx(0.32 * WIDTH * HEIGHT)


def test_the_copy_of_a_task_that_was_drawn_on_is_named_and_counts_once(studio: Studio) -> None:
    study = studio.open_study()
    studio.settle()
    before = read(studio, study)
    assert not before.problems
    originals = {
        project_kind: study.tasks(project_kind)[0].id for project_kind in (ProjectKind.CONCEPTS, ProjectKind.CANVASES)
    }
    for project_kind, original in originals.items():
        study.copy(project_kind, original)
    studio.settle()
    after = read(studio, study)
    assert (after.concepts, after.canvases) == (before.concepts, before.canvases)
    reasons = {f"it is the same as task {original}, and counts once" for original in originals.values()}
    assert {problem.reason for problem in after.problems} == reasons


def test_a_task_whose_image_is_gone_is_named(studio: Studio, study: Study, given: list[int]) -> None:
    project = study.projects[ProjectKind.BACKGROUNDS]
    upload(studio, project, {"will-be-gone.png": encode_png(plate(315))})
    task = study.tasks(ProjectKind.BACKGROUNDS)[-1]
    given.append(task.id)
    headers = {"Authorization": f"Token {studio.server.token}"}
    address = f"{studio.server.url}/api/projects/{project}/file-uploads"
    listed = httpx.get(address, params={"all": "true"}, headers=headers, timeout=30).json()
    [gone] = [entry["id"] for entry in listed if entry["file"].endswith("will-be-gone.png")]
    httpx.request("DELETE", address, json={"file_upload_ids": [gone]}, headers=headers, timeout=30).raise_for_status()
    # Label Studio deletes the tasks of an upload with it; one that was imported by its address stays
    [stays] = studio.client.import_tasks(project, [{"data": {"image": task.data["image"]}}])
    given.append(stays)
    studio.settle()

    assert f"Background task {stays} (will-be-gone.png): its image is gone; upload it again" in text(study.page())
    assert len(read(studio, study).backgrounds) >= 6


def test_an_image_elsewhere_is_not_fetched_and_named(studio: Studio, study: Study, given: list[int]) -> None:
    project = study.projects[ProjectKind.BACKGROUNDS]
    own = f"{studio.settings.own_url}/health"
    given += studio.client.import_tasks(project, [{"data": {"image": own}}, {"data": {"image": ""}}])
    studio.settle()
    reasons = {problem.item: problem.reason for problem in read(studio, study).problems}
    assert "is not on Label Studio" in reasons[f"task {given[0]} (health)"]
    assert reasons[f"task {given[1]} (task {given[1]})"] == "its task has no image; upload one"


# -- how much there is


def test_with_fewer_inputs_than_the_minimum_it_says_what_is_missing_and_keeps_the_answer(studio: Studio) -> None:
    sparse = studio.open_study(inputs=False)
    inputs = good_inputs()
    sparse.give(Role.CONCEPT, inputs[Role.CONCEPT][:5])
    sparse.give(Role.CANVAS, inputs[Role.CANVAS][:1])
    studio.settle()
    missing = (
        "1 more concept image with a box round the concept (there are 5, at least 6 needed)",
        "5 more canvas images with a polygon where it may appear (there is 1, at least 6 needed)",
        "6 more background images without the concept (there are 0, at least 6 needed)",
    )
    assert all(sentence in text(sparse.page()) for sentence in missing)

    answer = sparse.decide("build preview")

    assert f"Not done: a preview cannot be built yet. Missing: {'; '.join(missing)}." in text(sparse.page())
    assert (sparse.row().state, sparse.specs()) == ("collecting", [])
    with pytest.raises(NotReady, match="1 more concept image"):
        sparse.act(StudyEvent.BUILD_PREVIEW)

    for role, rest in ((Role.CONCEPT, 5), (Role.CANVAS, 1), (Role.BACKGROUND, 0)):
        sparse.give(role, inputs[role][rest:])
    studio.settle()  # on a busy machine not all pictures are read within one decision
    studio.client.update_annotation(answer, asked("build preview"))
    studio.settle()
    assert sparse.row().state == "reviewing"


def test_excluded_backgrounds_count_as_missing(studio: Studio, study: Study) -> None:
    excluded = [
        (
            task,
            studio.client.annotate(
                task.id,
                [{"from_name": "use", "to_name": "image", "type": "choices", "value": {"choices": ["exclude"]}}],
            ),
        )
        for task in study.tasks(ProjectKind.BACKGROUNDS)
    ]
    studio.settle()
    assert "6 more background images without the concept (there are 0" in text(study.page())
    for _, annotation in excluded:
        studio.client.delete_annotation(annotation)
    studio.settle()
    assert read(studio, study).missing() == ()


# -- a pack


def pack(folder: Path, tasks: object) -> Path:
    file = folder / "concept.json"
    file.write_text(json.dumps(tasks))
    return file


def test_a_pack_that_lacks_a_file_is_added_without_it(studio: Studio, study: Study, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(encode_png(plate(321)))
    folder = tmp_path / "pack"
    folder.mkdir()
    (folder / "there.png").write_bytes(encode_png(plate(320, pit=(60, 40))))
    file = pack(
        folder,
        [
            {"data": {"image": "there.png"}, "annotations": [{"result": [box(40, 35, 14, 16)]}]},
            {"data": {"image": "missing.png"}, "annotations": []},
            {"data": {"image": "../outside.png"}},
            {"data": {}},
        ],
    )
    addition = add_files(studio.services, study.name, Role.CONCEPT, file)
    assert (addition.new, addition.known) == (1, 0)
    missing = "its picture is missing; lay it beside the file, or name its folder with --images"
    assert addition.problems == (
        "concept.json, task 4: its data names no picture",
        f"concept.json, task 2 (missing.png): {missing}",
        f"concept.json, task 3 (../outside.png): {missing}",
    )
    studio.settle()
    assert len(read(studio, study).concepts) == 7


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[1, 2", "is not a JSON file that can be read"),
        ('{"tasks": []}', "is not a list of tasks, as Label Studio exports it"),
        ("\udcff".encode("utf-8", "surrogateescape").decode("latin-1"), "is not a JSON file that can be read"),
        ("[]", "names no picture"),
    ],
)
def test_a_task_list_that_cannot_be_read_is_an_error_that_names_it(
    content: str, sentence: str, studio: Studio, study: Study, tmp_path: Path
) -> None:
    (tmp_path / "concept.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputProblem, match=f"concept.json {sentence}"):
        add_files(studio.services, study.name, Role.CONCEPT, tmp_path / "concept.json")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (" " * (64 * 2**20 + 1), "has 67,108,865 bytes, at most 67,108,864 are read"),
        ("[" * 100_000 + "]" * 100_000, "is not a JSON file that can be read: it is nested too deeply"),
    ],
    ids=["bytes", "depth"],
)
def test_task_list_beyond_a_limit_is_refused_with_the_limit(
    content: str, sentence: str, studio: Studio, study: Study, tmp_path: Path
) -> None:
    (tmp_path / "concept.json").write_text(content)
    with pytest.raises(InputProblem, match=f"concept.json {sentence}"):
        add_files(studio.services, study.name, Role.CONCEPT, tmp_path / "concept.json")


def test_a_folder_without_pictures_and_a_path_that_is_not_there_are_errors(
    studio: Studio, study: Study, tmp_path: Path
) -> None:
    with pytest.raises(InputProblem, match="has no picture files"):
        add_files(studio.services, study.name, Role.CANVAS, tmp_path)
    with pytest.raises(InputProblem, match="not-there does not exist; give a folder of images"):
        add_files(studio.services, study.name, Role.CANVAS, tmp_path / "not-there")


def test_the_box_on_a_turned_photo_lands_where_it_was_drawn(studio: Studio, study: Study, given: list[int]) -> None:
    upright = plate(330, pit=(40, 30))  # what people see in Label Studio
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: the viewer turns it back
    stored = Image.fromarray(cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE)).convert("RGB")
    drawn = [box(100 * 32 / WIDTH, 100 * 22 / HEIGHT, 1600 / WIDTH, 1600 / HEIGHT)]
    given += study.give(Role.CONCEPT, [("turned.jpg", saved(stored, "JPEG", exif=exif, quality=95), drawn)])
    studio.settle()
    concept = next(
        concept_photo for concept_photo in read(studio, study).concepts if concept_photo.image.name == "turned.jpg"
    )
    assert (concept.image.width, concept.image.height) == (WIDTH, HEIGHT)
    region = concept.regions[0].box
    assert (region.x, region.y) == (pytest.approx(32), pytest.approx(22))
