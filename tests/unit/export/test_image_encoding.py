"""Images in a lossy encoding: their labels are certified again, their marks are kept, and what fails stays PNG."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import supervision
from PIL import Image

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Sample
from datagen.domain.source_type import SourceType
from datagen.errors import InputProblem, StoreError, StoreMissing
from datagen.export.archive import ExportOptions, write_dataset
from datagen.export.image_encoding import (
    ImageEncoding,
    decode_own,
    disagreement,
    encoded_background,
)
from datagen.export.image_kinds import ImageKind
from datagen.imaging.png_encoder import encode_png
from datagen.imaging.provenance_mark import Mark, packet, read_mark

LOSSY = [ImageKind.JPEG, ImageKind.WEBP]
MARK = Mark(
    source_type=SourceType.COMPOSITE_CAPTURE, spec_digest="5bec" * 16, index=3, engine="composite", engine_version="2"
)
Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def background() -> Pixels:
    """[120, 160, 3]: a plate with grain."""
    grain = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 12, (120, 160, 3)), (0, 0), 1.2)
    shade = np.linspace(90, 160, 160)[None, :, None]
    return np.clip(shade + grain, 0, 255).astype(np.uint8)


@pytest.fixture
def mask() -> Pixels:
    yy, xx = np.mgrid[:120, :160]
    drawn = (np.hypot(yy - 40, xx - 50) < 14).astype(np.uint8)
    drawn[80:100, 90:130] = 2
    return drawn


@pytest.fixture
def image(background: Pixels, mask: Pixels) -> Pixels:
    """The background with a dark disc and a faint bright rectangle."""
    changed = background.astype(int)
    changed[mask == 1] -= 60
    changed[mask == 2] += 18
    return np.clip(changed, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", LOSSY)
@pytest.mark.parametrize("grey", [False, True])
def test_encoded_image_with_visible_objects_is_certified(
    kind: ImageKind, grey: bool, image: Pixels, background: Pixels, mask: Pixels
) -> None:
    encoding = ImageEncoding(kind, 85)
    if grey:
        image, background = image[:, :, 1], background[:, :, 1]
    assert disagreement(image, encoding.encode(image), mask, encoded_background(background, encoding)) == ""


@pytest.mark.parametrize("kind", LOSSY)
def test_object_that_the_encoder_removes_is_named(
    kind: ImageKind, image: Pixels, background: Pixels, mask: Pixels
) -> None:
    faint = background.copy()
    faint[mask == 1] = image[mask == 1]
    faint[mask == 2] += 2
    encoding = ImageEncoding(kind, 10)
    problem = disagreement(faint, encoding.encode(faint), mask, encoded_background(background, encoding))
    assert problem.startswith("object 2 is hardly visible any more: it differs from its background by ")


@pytest.mark.parametrize("kind", LOSSY)
def test_change_outside_the_mask_is_named(kind: ImageKind, image: Pixels, background: Pixels, mask: Pixels) -> None:
    encoding = ImageEncoding(kind, 90)
    touched = image.copy()
    touched[5:12, 140:150] = 255
    problem = disagreement(image, encoding.encode(touched), mask, encoded_background(background, encoding))
    assert "pixels outside its labels changed, by up to" in problem


def test_label_that_is_moved_is_refused(image: Pixels, background: Pixels, mask: Pixels) -> None:
    encoding = ImageEncoding(ImageKind.JPEG, 90)
    moved = np.roll(mask, 12, axis=1)
    assert disagreement(image, encoding.encode(image), moved, encoded_background(background, encoding))


@pytest.mark.parametrize("kind", LOSSY)
def test_mark_is_read_back_from_the_encoded_file(kind: ImageKind, image: Pixels) -> None:
    encoded = ImageEncoding(kind, 80).encode(image, packet(MARK))
    assert read_mark(encoded) == MARK
    with Image.open(io.BytesIO(encoded)) as picture:
        assert picture.format == kind.name
        assert SourceType.COMPOSITE_CAPTURE.uri in str(picture.getxmp())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((ImageKind.PNG, 90), "PNG is lossless and has no quality"),
        ((ImageKind.JPEG, 0), "0 is no quality; give a number from 1 to 100"),
        ((ImageKind.WEBP, 101), "101 is no quality"),
    ],
)
def test_quality_that_does_not_exist_is_refused(arguments: Any, sentence: str) -> None:
    with pytest.raises(InputProblem, match=sentence):
        ImageEncoding(*arguments)


@pytest.fixture
def marked(shelf: Any, image: Pixels, mask: Pixels, background: Pixels) -> Sample:
    """A sample with a mark, whose background is on the shelf."""
    sample: Sample = shelf.sample(mask, ("scratch", "dent"), index=3, image=image)
    data = encode_png(image, xmp=packet(MARK))
    ref = shelf.put(image, "3.png")
    digest = hashlib.sha256(data).hexdigest()
    shelf.objects[digest] = data
    provenance = replace(sample.provenance, background=shelf.put(background, "plate.png"))
    return replace(sample, image=replace(ref, digest=digest), provenance=provenance)


@pytest.fixture
def write(shelf: Any, tmp_path: Path, labels: tuple[str, ...]) -> Callable[..., Any]:
    def write(samples: list[Sample], *formats: str, to: str = "set", **options: Any) -> Any:
        def background(ref: ImageRef) -> Pixels:
            return decode_own(shelf.read(ref.digest))

        return write_dataset(
            tmp_path / to,
            samples,
            labels=labels,
            read=shelf.read,
            about={},
            options=ExportOptions(formats=formats or ("coco",), **options),
            backgrounds=background,
        )

    return write


@pytest.mark.parametrize("kind", LOSSY)
def test_every_format_names_the_encoded_files(kind: ImageKind, marked: Sample, write: Any, tmp_path: Path) -> None:
    formats = ("coco", "yolo-segment", "voc", "semantic", "imagefolder", "label-studio", "parquet", "webdataset")
    summary = write([marked], *formats, encoding=ImageEncoding(kind))
    assert summary.notes == ()
    name = f"5bec5bec_0000003{kind.suffix}"
    folder = tmp_path / "set"
    assert [path.name for path in (folder / "images").iterdir() if path.suffix != ".jsonl"] == [name]
    assert [path.name for path in (folder / "masks").iterdir()] == ["5bec5bec_0000003.png"]
    assert read_mark((folder / "images" / name).read_bytes()) == MARK
    line = json.loads((folder / "manifest.jsonl").read_text())
    assert line["files"]["image"] == f"images/{name}"
    assert line["encoding"] == f"{kind.name} of quality 90"
    assert line["sha256"]["image"] == marked.image.digest
    data = (folder / "images" / name).read_bytes()
    assert line["file_sha256"]["image"] == hashlib.sha256(data).hexdigest()
    read = supervision.DetectionDataset.from_coco(str(folder), str(folder / "coco.json"))
    assert len(read) == 1
    assert name in (folder / "label_studio.json").read_text()
    assert name in (folder / "Annotations" / "5bec5bec_0000003.xml").read_text()


@pytest.mark.parametrize("kind", LOSSY)
def test_same_samples_give_the_same_encoded_bytes(kind: ImageKind, marked: Sample, write: Any, tmp_path: Path) -> None:
    for to in ("a.zip", "b.zip"):
        write([marked], encoding=ImageEncoding(kind, 75), to=to)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_image_whose_label_no_longer_fits_stays_png_and_is_named(
    marked: Sample, write: Any, shelf: Any, mask: Pixels, background: Pixels, tmp_path: Path
) -> None:
    faint = background + 2 * (mask > 0)[:, :, None].astype(np.uint8)
    hidden = shelf.sample(mask, ("scratch", "dent"), index=4, image=faint)
    hidden = replace(hidden, provenance=replace(hidden.provenance, background=marked.provenance.background))
    summary = write([marked, hidden], encoding=ImageEncoding(ImageKind.JPEG, 60))
    (note,) = summary.notes
    assert note.startswith("1 image stays PNG, because JPEG of quality 60 would not fit the labels: 5bec5bec_0000004 (")
    assert note in (tmp_path / "set" / "README.txt").read_text()
    lines = [json.loads(line) for line in (tmp_path / "set" / "manifest.jsonl").read_text().splitlines()]
    assert [line["files"]["image"].rpartition(".")[2] for line in lines] == ["jpg", "png"]
    assert lines[1]["encoding"].startswith("PNG, because object 1 is hardly visible any more")
    stored = (tmp_path / "set" / lines[1]["files"]["image"]).read_bytes()
    assert stored == shelf.read(hidden.image.digest)


def test_sixteen_bit_image_stays_png(marked: Sample, write: Any, shelf: Any, mask: Pixels) -> None:
    deep = shelf.sample(mask, ("scratch", "dent"), index=5, image=np.full((120, 160), 40_000, np.uint16))
    (note,) = write([deep], encoding=ImageEncoding(ImageKind.WEBP)).notes
    assert "5bec5bec_0000005 (it has 16 bits, WEBP holds 8)" in note


def test_missing_background_is_a_sentence(marked: Sample, shelf: Any, labels: tuple[str, ...], tmp_path: Path) -> None:
    def missing(ref: ImageRef) -> Pixels:
        raise StoreMissing(f"image {ref.digest[:8]} is not in the store")

    with pytest.raises(StoreError, match=r"sample 5bec5bec_0000003 cannot be certified as JPEG .*; export it as PNG"):
        write_dataset(
            tmp_path / "set",
            [marked],
            labels=labels,
            read=shelf.read,
            about={},
            options=ExportOptions(encoding=ImageEncoding(ImageKind.JPEG)),
            backgrounds=missing,
        )
    assert not (tmp_path / "set").exists()
