"""The picture that an address means is found below the folder, and nothing outside of it ever is."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from datagen.errors import InputProblem
from datagen.workflow.inputs.importing import picture_files
from datagen.workflow.inputs.importing.picture_files import PictureFiles, files_below
from import_files_made import file

RESOLVED = base64.urlsafe_b64encode(b"s3://bucket/line 4/plate.png").decode().rstrip("=")


@pytest.mark.parametrize(
    ("lies", "address"),
    [
        ("a.png", "a.png"),
        ("a.png", "./a.png"),
        ("a.png", "images/a.png"),
        ("images/a.png", "a.png"),
        ("images/deep/A.PNG", "a.png"),
        ("plate 7.png", "plate%207.png"),
        ("plate%3A7.png", "plate%3A7.png"),
        ("plate_7.png", "/data/upload/1/1a2b3c4d-plate_7.png"),
        ("1a2b3c4d-plate_7.png", "/data/upload/1/1a2b3c4d-plate_7.png"),
        ("plate 7 (1).png", "/data/upload/1/1a2b3c4d-plate_7_1.png"),
        ("photos/plate 7+b.png", "/data/local-files/?d=photos/plate%207%2Bb.png"),
        ("plate 7.png", "/data/local-files/?d=photos/plate+7.png"),
        ("key/plate.png", "s3://bucket/key/plate.png"),
        ("plate.png", "gs://bucket/key/plate.png"),
        ("plate.png", "https://host.example/x/plate.png?X-Amz-Signature=0"),
        ("line 4/plate.png", f"/tasks/7/resolve/?fileuri={RESOLVED}"),
        ("plate 7.png", "C:\\Users\\me\\photos\\plate 7.png"),
        ("photos/plate 7.png", "photos\\plate 7.png"),
        ("plate 7.png", "file:///C:/photos/plate%207.png"),
        ("u\u0308ber.png", "\u00fcber.png"),
        ("a#1.png", "a#1.png"),
        ("outside.png", "../../data/upload/1/outside.png"),
    ],
)
def test_an_address_finds_its_file(lies: str, address: str, tmp_path: Path) -> None:
    path = file(tmp_path, lies, b"1")
    file(tmp_path, "other.png", b"2")
    assert PictureFiles(folders=[tmp_path]).find(address) == path


@pytest.mark.parametrize("address", ["", "/", "..", "../a.png", "a\0.png", "x" * 5000, "http://[", "/etc/passwd", "%"])
def test_picture_outside_the_folder_is_not_found(address: str, tmp_path: Path) -> None:
    file(tmp_path, "a.png", b"1")
    inside = tmp_path / "inside"
    inside.mkdir()
    assert PictureFiles(folders=[inside]).find(address) is None


def test_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    secret = file(tmp_path, "secret/a.png", b"1")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.png").symlink_to(secret)
    (inside / "folder").symlink_to(secret.parent)
    files = PictureFiles(folders=[inside])
    assert files.find("a.png") is None
    assert files.find("folder/a.png") is None
    assert list(files_below(inside)) == []


def test_the_folder_of_images_is_looked_in_too(tmp_path: Path) -> None:
    below, further = tmp_path / "beside", tmp_path / "further"
    below.mkdir()
    path = file(further, "deep/a.png", b"1")
    assert PictureFiles(folders=[below, further]).find("s3://bucket/a.png") == path


def test_of_several_the_one_whose_folders_are_named_is_taken(tmp_path: Path) -> None:
    file(tmp_path, "s1/a.png", b"1")
    right = file(tmp_path, "s2/a.png", b"2")
    files = PictureFiles(folders=[tmp_path])
    assert files.find("s3://bucket/s2/a.png") == right
    with pytest.raises(InputProblem, match=r"several files may be meant \(s1/a.png, s2/a.png\)"):
        files.find("s3://bucket/a.png")


def test_several_with_the_same_bytes_are_one(tmp_path: Path) -> None:
    first = file(tmp_path, "s1/a.png", b"1")
    file(tmp_path, "s2/a.png", b"1")
    assert PictureFiles(folders=[tmp_path]).find("s3://bucket/a.png") == first


@pytest.mark.parametrize("last", ["image.png", "scan/image.png", "scan/image 1.png"])
def test_pictures_of_one_name_in_many_folders_are_each_found_by_their_folder(
    last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was compared with every other: 100,000 tasks took days."""
    compared = 0
    common = picture_files._common

    def counted(parts: tuple[str, ...], other: tuple[str, ...]) -> int:
        nonlocal compared
        compared += 1
        return common(parts, other)

    monkeypatch.setattr(picture_files, "_common", counted)
    paths = [file(tmp_path, f"{number:05}/{last}", str(number)) for number in range(200)]
    files = PictureFiles(folders=[tmp_path])
    stored = last.replace(" ", "_")
    assert [files.find(f"/data/local-files/?d=set/{n:05}/{stored}") for n in range(200)] == paths
    assert compared < 200 * 50
    with pytest.raises(InputProblem, match="several files may be meant"):
        files.find(last.rpartition("/")[2])


def test_files_that_cannot_be_read_are_not_taken_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path, "s1/a.png", b"1")
    file(tmp_path, "s2/a.png", b"1")

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(InputProblem, match="several files may be meant"):
        PictureFiles(folders=[tmp_path]).find("a.png")


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        file(tmp_path, f"{number}.png", b"1")
    with pytest.raises(InputProblem, match="more than 3 files"):
        list(files_below(tmp_path, most=3))
    assert picture_files.MAX_FILES == 200_000
