"""Usual zips are read, malicious ones are refused, and no file is left or written elsewhere."""

from __future__ import annotations

import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from datagen.errors import InputProblem
from datagen.workflow.inputs import zip_import
from datagen.workflow.inputs.importing.items import Reading
from datagen.workflow.inputs.importing.picture_suffixes import PICTURE_SUFFIXES, REFUSED_SUFFIXES
from datagen.workflow.inputs.zip_import import shown, unpacked

SUFFIXES = PICTURE_SUFFIXES | {".json"}


MAX_BYTES = 10_000


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    def pack(entries: Mapping[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "given" / "inputs.zip"
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        return path

    return pack


def read(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """The unpacked files of a zip, and the reports about the others."""
    problems: list[str] = []
    with unpacked(
        path,
        SUFFIXES,
        MAX_BYTES,
        lambda item, reason: problems.append(f"{item}: {reason}"),
        refused=REFUSED_SUFFIXES,
    ) as folder:
        files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not folder.exists()
    return files, problems


def test_pictures_and_task_lists_are_unpacked_at_any_depth_and_other_files_are_skipped(
    pack: Callable[..., Path],
) -> None:
    path = pack(
        {"a.png": b"1", "deep/er/ü b.JPG": b"2", "tasks.json": b"[]", "notes.txt": b"", "__MACOSX/._a.png": b""}
    )
    assert read(path) == ({"a.png": b"1", "deep/er/ü b.JPG": b"2", "tasks.json": b"[]"}, [])


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "a/../../outside.png",
        "/etc/outside.png",
        "//host/outside.png",
        "a//outside.png",
        "./outside.png",
        "..\\outside.png",
        "C:\\outside.png",
        "C:/outside.png",
        "a\\..\\..\\outside.png",
    ],
)
def test_a_name_that_leads_out_is_refused_and_the_others_are_used(
    name: str, pack: Callable[..., Path], tmp_path: Path
) -> None:
    path = pack({"good.png": b"1", name: b"2"})
    files, [problem] = read(path)
    assert files == {"good.png": b"1"}
    assert problem == f"inputs.zip, {name}: its name leads out of the archive; pack the folder again"
    assert not list(tmp_path.rglob("outside.png"))


@pytest.mark.parametrize("name", ["a\0.png", "a\n.png", "\x1b[31mred.png", "\u202egnp.exe.png"])
def test_a_name_that_no_terminal_should_see_is_refused_and_shown_harmlessly(name: str, tmp_path: Path) -> None:
    path = tmp_path / "inputs.zip"
    stand_in = "x" * len(name.encode())  # zipfile itself would not write such names
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("ü" + stand_in), b"1")
    path.write_bytes(path.read_bytes().replace(stand_in.encode(), name.encode()))
    files, [problem] = read(path)
    assert files == {}
    assert "its name has characters that cannot be shown" in problem
    assert problem.isprintable()


@pytest.mark.parametrize("name", ["Screenshot 1.23\u202fPM.png", "写真\u30001.png", "a\u00a0b.png"])
def test_a_name_with_a_blank_of_any_width_is_used(name: str, pack: Callable[..., Path]) -> None:
    assert read(pack({name: b"1"})) == ({name: b"1"}, [])


@pytest.mark.parametrize("name", ["/".join(["x" * 255] * 15 + ["y.png"]), "/".join(["é" * 100] * 6 + ["y.png"])])
def test_a_name_too_long_for_the_system_costs_itself_alone(name: str, pack: Callable[..., Path]) -> None:
    files, [problem] = read(pack({name: b"2", "good.png": b"1"}))
    assert files == {"good.png": b"1"}
    assert "its name is too long or too deep; rename it" in problem


def test_a_name_marked_as_utf_8_that_is_none_is_read_and_costs_no_other_file(pack: Callable[..., Path]) -> None:
    path = pack({"good.png": b"1", "é.png": b"2", "ü.png": b"3"})
    path.write_bytes(path.read_bytes().replace("é.png".encode(), b"\xe9\xe9.png"))
    assert read(path) == ({"good.png": b"1", "ΘΘ.png": b"2", "ü.png": b"3"}, [])


@pytest.mark.parametrize("name", ["b.tif", "c.HEIC"])
def test_picture_of_a_kind_that_label_studio_refuses_is_reported(name: str, pack: Callable[..., Path]) -> None:
    files, [problem] = read(pack({"good.png": b"1", name: b"II*\0", "notes.doc": b"1"}))
    assert files == {"good.png": b"1"}
    assert problem == f"inputs.zip, {name}: Label Studio takes no file of this name; save it as PNG and add that"


def test_a_name_with_a_colon_is_named_whole(pack: Callable[..., Path]) -> None:
    reading = Reading()
    with unpacked(pack({"x: y.png": b"1"}), SUFFIXES, MAX_BYTES, reading.report):
        pass
    [reported] = reading.problems
    assert reported.item == "inputs.zip, x: y.png"
    assert reported.reason == "its name leads out of the archive; pack the folder again"


def test_links_and_devices_are_refused(pack: Callable[..., Path]) -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        entry = zipfile.ZipInfo("link.png")
        entry.create_system, entry.external_attr = 3, (kind | 0o777) << 16
        files, [problem] = read(pack({entry: b"/etc/passwd"}))
        assert files == {}
        assert "it is a link or a device" in problem


@pytest.mark.parametrize("name", ["inner.zip", "inner.tar.gz", "INNER.7Z"])
def test_an_archive_in_the_archive_is_not_opened(name: str, pack: Callable[..., Path]) -> None:
    files, [problem] = read(pack({"good.png": b"1", name: b"2"}))
    assert files == {"good.png": b"1"}
    assert problem == f"inputs.zip, {name}: it is an archive in the archive; unpack it first"


def test_a_bomb_is_known_by_its_ratio(pack: Callable[..., Path]) -> None:
    files, [problem] = read(pack({"bomb.png": bytes(5 * 2**20), "good.png": b"1"}))
    assert files == {"good.png": b"1"}
    assert "more than 200 times its size" in problem


def test_many_small_entries_are_known_as_a_bomb_by_the_ratio_of_all_together(
    pack: Callable[..., Path], own_temporary_folder: Path
) -> None:
    """Each is below the size where its own ratio counts: 1.6 MB gave 1.46 GiB."""
    path = pack({f"{number}.png": b"\0" * 2**20 for number in range(80)})
    assert path.stat().st_size < 2**18
    with (
        pytest.raises(InputProblem, match="more than 200 times its size, as bombs do"),
        unpacked(path, SUFFIXES, 2**21, Reading().report),
    ):
        pass
    assert list(own_temporary_folder.iterdir()) == []


def test_entries_that_share_their_bytes_are_counted_each(pack: Callable[..., Path], tmp_path: Path) -> None:
    """The table of contents may name the same bytes thousands of times."""
    path = pack({"0.png": np.random.default_rng(0).bytes(50_000) + b"\0" * 950_000})
    with zipfile.ZipFile(path, "a") as archive:
        only = archive.infolist()[0]
        for number in range(1, 100):
            twin = zipfile.ZipInfo(f"{number}.png")
            for field in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(twin, field, getattr(only, field))
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(InputProblem, match="as bombs do"), unpacked(path, SUFFIXES, 2**21, Reading().report):
        pass


def test_skipped_entries_do_not_count_in_the_ratio(pack: Callable[..., Path]) -> None:
    files, problems = read(pack({"a.png": b"1", "log.txt": b"\0" * 70 * 2**20}))
    assert (files, problems) == ({"a.png": b"1"}, [])


def test_zip_without_disk_space_is_refused_with_the_fix(
    pack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_import.shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(InputProblem, match="set TMPDIR to a folder with more room"):
        read(pack({"a.png": b"1"}))


def test_a_file_beyond_the_limit_is_refused_however_it_is_packed(pack: Callable[..., Path]) -> None:
    data = np.random.default_rng(0).bytes(MAX_BYTES + 1)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        files, [problem] = read(pack({"large.png": data}, method))
        assert files == {}
        assert "more than 10,000 bytes" in problem


def test_entry_larger_than_its_header_claims_is_cut(pack: Callable[..., Path]) -> None:
    path = pack({"lie.png": bytes(9_000), "good.png": b"1"})
    path.write_bytes(path.read_bytes().replace(struct.pack("<L", 9_000), struct.pack("<L", 100)))
    files, [problem] = read(path)
    assert files == {"good.png": b"1"}
    assert "lie.png" in problem


def test_all_together_are_bounded(pack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_import, "MAX_BYTES", 20_000)
    with pytest.raises(InputProblem, match="unpacks to more than"):
        read(pack({f"{n}.png": bytes(9_000) for n in range(3)}))


def test_the_number_of_entries_is_bounded(pack: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_import, "MAX_ENTRIES", 10)
    with pytest.raises(InputProblem, match="has 11 entries, at most 10"):
        read(pack({f"{n}.png": b"" for n in range(11)}))


def test_a_huge_table_of_contents_is_not_read(pack: Callable[..., Path]) -> None:
    path = pack({"a.png": b"1"})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    path.write_bytes(bytes(data[:at]) + b"PK\x06\x07" + bytes(16) + bytes(data[at:]))
    with pytest.raises(InputProblem, match="too many entries"):
        read(path)
    data[at + 12 : at + 16] = struct.pack("<L", 2**31)
    path.write_bytes(data)
    with pytest.raises(InputProblem, match="too many entries"):
        read(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no zip", b"PK\x05\x06", b"PK\x05\x06" + b"\xff" * 40])
def test_file_that_is_no_zip_is_reported(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "inputs.zip").write_bytes(data)
    with pytest.raises(InputProblem, match=r"inputs\.zip"):
        read(tmp_path / "inputs.zip")


def test_damage_and_encryption_cost_one_file(pack: Callable[..., Path]) -> None:
    path = pack({"damaged.png": b"some words here", "good.png": b"1"}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"some words here", b"some other word"))
    files, [problem] = read(path)
    assert (files, "it is damaged" in problem) == ({"good.png": b"1"}, True)
    entry = zipfile.ZipInfo("locked.png")
    path = pack({entry: b"1", "good.png": b"2"})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + offset] |= 1
    path.write_bytes(data)
    files, [problem] = read(path)
    assert (files, "it is encrypted" in problem) == ({"good.png": b"2"}, True)


def test_a_name_twice_and_a_file_that_is_a_folder_too_cost_the_second(pack: Callable[..., Path]) -> None:
    path = pack({"a.png": b"1", "b.png": b"2", "a.png/b.png": b"3"})
    path.write_bytes(path.read_bytes().replace(b"b.png", b"a.png"))
    files, problems = read(path)
    assert files == {"a.png": b"1"}
    assert len(problems) == 2


def test_name_is_shown_without_control_characters() -> None:
    assert shown("ü [b] <i> 中.png") == "ü [b] <i> 中.png"
    assert shown("a\x1b[2Jb\n\udcff") == "a\\x1b[2Jb\\n\\udcff"
