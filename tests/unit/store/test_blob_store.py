"""The image store: nothing is lost, nothing is stored twice, nothing damaged is handed out."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from datagen.errors import StoreError
from datagen.store.blob_store import BlobStore

DATA = b"some picture's bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    # a bucket of its own: the memory that fsspec keeps is shared by all tests of a process
    name = f"/{uuid.uuid4().hex}"
    yield BlobStore(f"file://{tmp_path}/images" if request.param == "file" else f"memory:/{name}")
    if MemoryFileSystem().exists(name):
        MemoryFileSystem().rm(name, recursive=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def local(folder: Path) -> BlobStore:
    return BlobStore(f"file://{folder}")


def object_path(folder: Path, digest: str = DIGEST) -> Path:
    return folder / digest[:2] / digest[2:4] / digest


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_object_is_stored_under_its_sha256(store: BlobStore) -> None:
    assert not store.exists(DIGEST)
    assert store.put(DATA) == DIGEST
    assert store.exists(DIGEST)
    assert store.get(DIGEST) == DATA


def test_the_empty_object_is_an_object(store: BlobStore) -> None:
    assert store.get(store.put(b"")) == b""


def test_deleted_is_gone_and_deleting_again_is_no_error(store: BlobStore) -> None:
    store.put(DATA)
    store.delete(DIGEST)
    assert not store.exists(DIGEST)
    store.delete(DIGEST)


def test_an_absent_object_is_named(store: BlobStore) -> None:
    store.put(b"another")
    with pytest.raises(StoreError, match=f"image {DIGEST} is not in the store"):
        store.get(DIGEST)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", DIGEST[:-1], DIGEST.upper(), f"{DIGEST}\n", f"/{DIGEST}"])
def test_nothing_but_a_digest_becomes_a_path(store: BlobStore, digest: str) -> None:
    for ask in (store.get, store.exists, store.delete):
        with pytest.raises(StoreError, match="64 hexadecimal digits"):
            ask(digest)


def test_two_levels_of_folders(local: BlobStore, folder: Path) -> None:
    local.put(DATA)
    assert files(folder) == [object_path(folder)]


def test_a_plain_path_is_a_local_store(folder: Path) -> None:
    BlobStore(str(folder)).put(DATA)
    assert object_path(folder).read_bytes() == DATA


def test_the_same_bytes_are_written_once(local: BlobStore, folder: Path) -> None:
    local.put(DATA)
    before = object_path(folder).stat()
    local.put(DATA)
    after = object_path(folder).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_flipped_bit_is_noticed(local: BlobStore, folder: Path) -> None:
    local.put(DATA)
    object_path(folder).write_bytes(bytes([DATA[0] ^ 1]) + DATA[1:])
    with pytest.raises(StoreError, match=f"image {DIGEST} is damaged"):
        local.get(DIGEST)


def test_an_object_cut_short_by_a_power_cut_is_mended_by_the_next_put(local: BlobStore, folder: Path) -> None:
    local.put(DATA)
    object_path(folder).write_bytes(b"")
    with pytest.raises(StoreError, match="damaged"):
        local.get(DIGEST)
    local.put(DATA)
    assert local.get(DIGEST) == DATA


def test_a_failed_write_leaves_neither_object_nor_draft(
    local: BlobStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match=f"image {DIGEST} cannot be stored: .*No space left"):
        local.put(DATA)
    assert files(folder) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file, not a folder")
    with pytest.raises(StoreError, match="cannot be stored"):
        BlobStore(f"file://{tmp_path}/images").put(DATA)


def test_drafts_of_killed_writers_are_removed_and_those_being_written_are_not(local: BlobStore, folder: Path) -> None:
    assert local.remove_drafts() == 0
    abandoned, fresh = folder / "drafts" / "abandoned", folder / "drafts" / "fresh"
    fresh.parent.mkdir(parents=True)
    fresh.write_bytes(b"half")
    abandoned.write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    local.put(DATA)
    assert local.remove_drafts() == 1
    assert sorted(files(folder)) == sorted([fresh, object_path(folder)])


def test_an_object_store_has_no_drafts() -> None:
    assert BlobStore("memory://images").remove_drafts() == 0


def test_many_writers_of_the_same_bytes(local: BlobStore, folder: Path) -> None:
    big = DATA * 50_000
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(local.put, [big] * 64))
    assert len(digests) == 1
    assert files(folder) == [object_path(folder, digests.pop())]


def test_a_reader_never_sees_half_an_object(local: BlobStore) -> None:
    big = DATA * 100_000
    digest = hashlib.sha256(big).hexdigest()
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(local.put, big) for _ in range(4)]
        while not all(writer.done() for writer in writers):
            if local.exists(digest):
                assert local.get(digest) == big
    assert local.get(digest) == big


def _put_and_get_in_a_fork(store: BlobStore) -> None:
    assert store.get(store.put(DATA)) == DATA


def test_a_forked_worker_opens_its_own_connection(local: BlobStore) -> None:
    here = local._filesystem()[0]
    worker = multiprocessing.get_context("fork").Process(target=_put_and_get_in_a_fork, args=(local,))
    worker.start()
    worker.join(30)
    assert worker.exitcode == 0
    assert local.get(DIGEST) == DATA
    assert local._filesystem()[0] is here


@pytest.mark.parametrize("url", ["nonsense://bucket", "gopher://bucket/x"])
def test_an_unknown_kind_of_store_names_the_setting(url: str) -> None:
    with pytest.raises(StoreError, match=r"DATAGEN_STORE_URL begins with .*s3://bucket/prefix"):
        BlobStore(url)


def test_a_missing_driver_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # where another test has used it
    with pytest.raises(StoreError, match=r"pip install 'label-studio-datagen\[s3\]'"):
        BlobStore("s3://key:secret@bucket/prefix")


def test_a_mark_is_read_by_others_of_the_same_store(store: BlobStore) -> None:
    assert store.mark() is None
    assert store.write_mark("3f2a") == "3f2a"
    assert store.mark() == "3f2a"
    store.put(DATA)
    assert store.get(DIGEST) == DATA


def test_a_mark_of_any_size_is_read_in_part(local: BlobStore, folder: Path) -> None:
    folder.mkdir()
    (folder / "installation").write_bytes(b"\xff" * 10_000)
    assert len(local.mark() or "") == 64


def test_a_folder_that_may_not_be_written_names_the_fix(folder: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be stored: .*DATAGEN_STORE_URL"):
        BlobStore("file:///proc/no-folder").put(DATA)
