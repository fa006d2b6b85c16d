"""Real photos in an export: their own labels, no mark, told apart, and on the side of the samples made of them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.domain.lifecycle import StudyState
from datagen.domain.source_type import SourceType
from datagen.domain.spec import Spec
from datagen.errors import InputProblem, StoreMissing
from datagen.export.archive import ExportOptions
from datagen.export.image_encoding import ImageEncoding, decode_own
from datagen.export.image_kinds import ImageKind
from datagen.export.splitting import Apart, shares_of
from datagen.export.tiling import Tiling
from datagen.imaging.codec import decode
from datagen.imaging.provenance_mark import Mark, declared_source, packet, read_packet, source_packet
from datagen.workflow.studies.export import export_study
from datagen.workflow.studies.real_photos import RealPhotos, mask_of, wanted_count
from fake_studio import FakeStudio
from studio import Study

SQUARE = Polygon(((10, 10), (30, 10), (30, 30), (10, 30)))
BOX = Box(10, 10, 20, 20)
TRIANGLE = Polygon(((20, 20), (50, 20), (20, 40)))


class Images:
    """Files and their pixels by digest."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, data: bytes, *regions: ConceptRegion, name: str = "a.jpg") -> ConceptImage:
        digest = hashlib.sha256(data).hexdigest()
        self.files[digest] = data
        height, width = self.load(ImageRef(digest=digest, width=0, height=0, name=name)).shape[:2]
        return ConceptImage(image=ImageRef(digest=digest, width=width, height=height, name=name), regions=regions)

    def get(self, digest: str) -> bytes:
        if digest not in self.files:
            raise StoreMissing(f"image {digest[:8]} is not in the store")
        return self.files[digest]

    def load(self, ref: ImageRef) -> Any:
        return decode(self.get(ref.digest), max_bytes=10**7, max_pixels=10**7)


def photo(size: tuple[int, int] = (80, 50), seed: int = 0, kind: str = "JPEG", **options: Any) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format=kind, **options)
    return written.getvalue()


def region(*outline: Polygon, label: str = "pit", box: Box = BOX) -> ConceptRegion:
    return ConceptRegion(label=label, box=box, outline=outline)


@pytest.fixture
def images() -> Images:
    return Images()


@pytest.fixture
def find(images: Images) -> Callable[..., Any]:
    def find(*concepts: ConceptImage, boxes_suffice: bool = False, labels: tuple[str, ...] = ("pit", "dent")) -> Any:
        real = RealPhotos(images, images)  # type: ignore[arg-type]
        spec = Spec(labels=labels, concepts=concepts, canvases=(), backgrounds=(), engine="instant")
        return real, real.find([spec], labels, boxes_suffice=boxes_suffice)

    return find


def test_outlines_become_masks_and_the_smaller_object_is_in_front(images: Images, find: Any) -> None:
    concept = images.add(photo(), region(TRIANGLE, label="dent", box=TRIANGLE.bounds), region(SQUARE))
    real, selection = find(concept)
    (real_photo,) = selection.photos
    assert [instance.label for instance in real_photo.instances] == ["dent", "pit"]
    mask = decode_own(real.read(real_photo.mask.digest))
    np.testing.assert_array_equal(mask, mask_of(concept))
    assert mask[25, 25] == 1  # the triangle has less area where it overlaps the square
    assert mask[12, 12] == 2
    assert real_photo.boxes_only == ()
    image = real.read(real_photo.image.digest)
    assert hashlib.sha256(image).hexdigest() == real_photo.image.digest
    np.testing.assert_array_equal(decode_own(image), images.load(concept.image))
    assert real.read("0" * 64) is None


def test_turned_photo_is_written_upright_without_its_metadata(images: Images, find: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken by Ada"
    concept = images.add(photo((80, 50), exif=exif), region(SQUARE))
    real, selection = find(concept)
    image = real.read(selection.photos[0].image.digest)
    assert decode_own(image).shape == (80, 50, 3)
    assert b"Ada" in images.get(concept.image.digest)
    assert b"Ada" not in image
    assert read_packet(image) is None, "how a photo came about is not known"


def test_source_type_that_a_photo_declares_is_kept(images: Images, find: Any) -> None:
    uri = SourceType.TRAINED_ALGORITHMIC_MEDIA.uri
    real, selection = find(images.add(photo(xmp=source_packet(uri)), region(SQUARE)))
    assert declared_source(real.read(selection.photos[0].image.digest)) == uri


def test_image_of_datagen_is_no_real_photo(images: Images, find: Any) -> None:
    mark = Mark(
        source_type=SourceType.COMPOSITE, spec_digest="5bec" * 16, index=1, engine="instant", engine_version="1"
    )
    _, selection = find(images.add(photo(xmp=packet(mark)), region(SQUARE)))
    assert not selection.photos
    assert selection.problems == ("the photo a.jpg is left out: Datagen synthesized it, so it is no photo",)


def test_box_without_an_outline_needs_formats_of_boxes(images: Images, find: Any) -> None:
    concept = images.add(photo(), region(SQUARE), region(box=Box(40, 5, 10.4, 8)))
    _, selection = find(concept)
    assert "1 object of it has a box and no outline; draw outlines, or export boxes alone" in selection.problems[0]
    _, selection = find(concept, boxes_suffice=True)
    assert selection.photos[0].boxes_only == (1,)
    assert selection.photos[0].instances[1].box == Box(40, 5, 10, 8)


def test_unusable_photos_are_named(images: Images, find: Any) -> None:
    hidden = images.add(photo(seed=1), region(SQUARE), region(SQUARE), name="hidden.jpg")
    unknown = images.add(photo(seed=2), region(SQUARE, label="sofa"), name="unknown.jpg")
    gone = images.add(photo(seed=3), region(SQUARE), name="gone.jpg")
    del images.files[gone.image.digest]
    _, selection = find(hidden, unknown, gone)
    assert not selection.photos
    problems = " ".join(selection.problems)
    assert "hidden.jpg is left out: object 1 has no pixel that no other covers" in problems
    assert "unknown.jpg is left out: the study has no label sofa any more" in problems
    assert f"gone.jpg is left out: image {gone.image.digest[:8]} is not in the store" in problems


def test_number_of_photos_gives_the_share() -> None:
    assert [wanted_count(share, 70) for share in (0.0, 0.3, 0.5)] == [0, 30, 70]


@pytest.fixture
def _prepared(in_state: Callable[[StudyState, Path], Any], tmp_path: Path) -> Any:
    """A study with a finished run."""
    studio, study = in_state(StudyState.ACCEPTED, tmp_path)
    yield studio, study
    studio.close()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_photos_are_mixed_in_and_told_apart(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    plain = export_study(studio.services, study.name, tmp_path / "plain")
    summary = export_study(studio.services, study.name, tmp_path / "set", real_share=0.5)
    assert (summary.samples, summary.photos) == (2 * plain.samples, plain.samples)
    lines = lines_of(tmp_path / "set")
    photos = [line for line in lines if line["provenance"]["origin"] == "photo"]
    assert len(photos) == plain.samples
    assert {line["provenance"]["origin"] for line in lines} == {"photo", "synthesized"}
    for line in photos:
        assert line["files"]["image"].startswith("images/photo_")
        assert line["provenance"]["photo"]["name"]
        assert read_packet((tmp_path / "set" / line["files"]["image"]).read_bytes()) is None
    text = (tmp_path / "set" / "README.txt").read_text()
    assert f"of these real photos: {plain.samples}" in text
    coco = COCO(str(tmp_path / "set" / "coco.json"))
    real = [image for image in coco.imgs.values() if "photo_" in image["file_name"]]
    assert all(coco.imgToAnns[image["id"]] for image in real)
    again = export_study(studio.services, study.name, tmp_path / "again", real_share=0.5)
    assert again == summary
    assert lines_of(tmp_path / "again") == lines


def test_too_few_photos_are_said_and_none_is_repeated(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    summary = export_study(studio.services, study.name, tmp_path / "set", real_share=0.99)
    assert summary.photos == 6
    (note,) = summary.notes
    assert "are real photos in place of 99%, because 6 concept photos can be used" in note


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_share_that_does_not_exist_is_refused(studio: FakeStudio, study: Study, tmp_path: Path, share: float) -> None:
    with pytest.raises(InputProblem, match="is no share of real photos; give 0 to less than 1"):
        export_study(studio.services, study.name, tmp_path / "set", real_share=share)


def test_photo_and_the_samples_on_it_are_in_one_split(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    export_study(
        studio.services,
        study.name,
        tmp_path / "set",
        real_share=0.6,
        shares=shares_of("60,40"),
        apart=Apart.BACKGROUND,
        options=ExportOptions(formats=("yolo",)),
    )
    sides: dict[str, set[str]] = {}
    for line in lines_of(tmp_path / "set"):
        origin = line["provenance"]
        assert line["files"]["image"].startswith(f"images/{line['split']}/")
        sides.setdefault(origin.get("photo", origin.get("background"))["digest"], set()).add(line["split"])
    assert set.union(*sides.values()) == {"train", "val"}
    assert all(len(splits) == 1 for splits in sides.values())


def test_engine_that_records_no_concept_may_have_used_every_photo(
    studio: FakeStudio, study: Study, tmp_path: Path
) -> None:
    with pytest.raises(InputProblem, match=r"cannot be split into train and val without common concepts: .* 1 group"):
        export_study(
            studio.services,
            study.name,
            tmp_path / "set",
            real_share=0.6,
            shares=shares_of("60,40"),
            apart=Apart.CONCEPT,
        )


def test_photos_are_cut_and_encoded_like_the_others(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    options = ExportOptions(
        encoding=ImageEncoding(ImageKind.WEBP, 95), tiling=Tiling(side=32, empty_share=0.0), formats=("coco", "voc")
    )
    summary = export_study(studio.services, study.name, tmp_path / "set", real_share=0.4, options=options)
    assert summary.photos > 1
    for line in lines_of(tmp_path / "set"):
        if line["provenance"]["origin"] == "photo":
            assert line["files"]["image"].endswith(".webp")
            mask = decode_own((tmp_path / "set" / line["files"]["mask"]).read_bytes())
            assert mask.shape == (line["height"], line["width"])
            assert int(mask.max()) == len(line["instances"])
