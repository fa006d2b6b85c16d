"""An unavailable image store is recognized within its time limit; the error names no bucket, host or path."""

from __future__ import annotations

import errno
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datagen.errors import StoreError, StoreMissing, StoreUnavailable
from datagen.store.blob_store import BlobStore, digest_of
from datagen.store.bounded import BoundedCalls, CallNotStarted
from s3 import BUCKET, S3, s3_server

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

DATA = b"some picture's bytes"
DIGEST = digest_of(DATA)
#: Short enough for a test; the product waits longer.
ANSWER_S = 0.3

OPERATIONS: dict[str, Callable[[BlobStore], object]] = {
    "put": lambda store: store.put(DATA),
    "get": lambda store: store.get(DIGEST),
    "exists": lambda store: store.exists(DIGEST),
    "delete": lambda store: store.delete(DIGEST),
    "check": lambda store: store.check(),
}


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as started:
        yield started


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.serve()
    yield server
    server.serve()


@pytest.fixture
def url() -> str:
    return f"s3://{BUCKET}/{secrets.token_hex(4)}"


def unavailable(store: BlobStore, operation: str) -> StoreUnavailable:
    """The error that the operation raises, after a check that it names nothing internal."""
    with pytest.raises(StoreUnavailable) as caught:
        OPERATIONS[operation](store)
    for text in (str(caught.value), caught.value.reason):
        assert not any(word in text for word in (BUCKET, "127.0.0.1", "s3://", "/tmp", "http"))
    return caught.value


@pytest.mark.parametrize("operation", OPERATIONS)
def test_refused_connections_mean_unavailable_and_not_that_the_object_is_missing(
    s3: S3, url: str, operation: str
) -> None:
    store = BlobStore(url)
    store.put(DATA)
    s3.refuse()
    assert "refuses connections" in unavailable(store, operation).reason
    s3.serve()
    assert OPERATIONS[operation](store) in (DIGEST, DATA, True, None)


def test_a_frozen_server_is_given_up_and_not_asked_again_at_once(s3: S3, url: str) -> None:
    store = BlobStore(url, answer_s=ANSWER_S)
    s3.freeze()
    assert "did not answer in time" in unavailable(store, "get").reason
    assert s3.requests == 2  # one more try, on a new connection; the driver's own would be 25
    unavailable(store, "get")
    assert s3.requests == 2


@pytest.mark.parametrize(
    ("status", "code", "reason", "remedy"),
    [
        (500, "InternalError", "500 InternalError", "log"),
        (503, "ServiceUnavailable", "503 ServiceUnavailable", "log"),
        (503, "SlowDown", "fewer requests", "fewer workers"),
        (403, "AccessDenied", "access is denied", "right to read, write, list and delete"),
        (403, "InvalidAccessKeyId", "access key", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "secret key", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_a_server_that_refuses_is_unavailable_and_its_fix_is_named(
    s3: S3, url: str, status: int, code: str, reason: str, remedy: str
) -> None:
    store = BlobStore(url)
    store.put(DATA)
    s3.answer(status, code)
    fault = unavailable(store, "get")
    assert reason in fault.reason
    assert remedy in str(fault)
    unavailable(store, "exists")  # S3 answers a HEAD without a body, and so without a code


@pytest.mark.parametrize("operation", ["put", "get", "exists", "check"])
def test_a_bucket_that_is_gone_is_not_taken_for_a_missing_object(s3: S3, operation: str) -> None:
    assert s3.url
    fault = unavailable(BlobStore("s3://gone/prefix"), operation)
    assert fault.reason == "its bucket does not exist"
    assert "create the bucket" in str(fault)


def test_missing_credentials_are_named_with_their_fix(s3: S3, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    assert "AWS_ACCESS_KEY_ID" in str(unavailable(BlobStore(url), "put"))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "it is full"),
        (errno.EIO, "its disk reports an error"),
        (errno.EACCES, "access is denied"),
        (errno.ESTALE, "its mount is lost"),
        (errno.EROFS, "it cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_used_says_why_without_its_path(
    number: int, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number), target)

    monkeypatch.setattr(os, "replace", refuse)
    assert unavailable(BlobStore(f"file://{tmp_path}/images"), "put").reason.startswith(reason)


def test_a_read_from_a_dead_mount_is_given_up(tmp_path: Path) -> None:
    """Opening a pipe without a writer hangs as a dead network mount does."""
    path = tmp_path / "images" / DIGEST[:2] / DIGEST[2:4] / DIGEST
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    store = BlobStore(f"file://{tmp_path}/images", whole_s=0.2)
    assert unavailable(store, "get").reason == "it did not answer in time"
    path.open("wb").close()  # lets the thread go that was left behind


def test_an_unmounted_folder_is_not_taken_for_missing_objects(tmp_path: Path) -> None:
    store = BlobStore(f"file://{tmp_path}/images")
    assert "not there or is empty" in unavailable(store, "get").reason
    (tmp_path / "images").mkdir()
    assert "not there or is empty" in unavailable(store, "get").reason
    store.put(b"another")
    with pytest.raises(StoreMissing, match="is not in the store"):
        store.get(DIGEST)


def test_missing_and_damaged_objects_are_no_outage(tmp_path: Path) -> None:
    store = BlobStore(f"file://{tmp_path}/images")
    store.put(b"another")
    store.put(DATA)
    (tmp_path / "images" / DIGEST[:2] / DIGEST[2:4] / DIGEST).write_bytes(b"other bytes")
    with pytest.raises(StoreError, match="is damaged") as caught:
        store.get(DIGEST)
    assert not isinstance(caught.value, StoreUnavailable | StoreMissing)


def test_waiting_for_earlier_calls_counts_to_the_seconds_of_a_call() -> None:
    """The wait for a picture was twice the store's time limit."""
    calls, thaw = BoundedCalls(1, "test"), threading.Event()
    with pytest.raises(TimeoutError, match="did not return within"):
        calls.call(thaw.wait, 0.01)
    releasing = threading.Timer(0.5, thaw.set)
    releasing.start()
    frozen = threading.Event()
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="did not return within"):
        calls.call(frozen.wait, 1.0)
    assert time.monotonic() - began < 1.4
    frozen.set()
    releasing.join()


def test_call_whose_thread_cannot_be_started_leaves_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = BoundedCalls(1, "test")
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(CallNotStarted, match="no more threads"):
            calls.call(lambda: 7, 10.0)
    assert calls.call(lambda: 7, 0.5) == 7


def test_machine_without_threads_is_an_outage_of_the_store_and_over_with_the_next_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bare error of the thread ended a round as if the work were at fault."""
    store = BlobStore(f"file://{tmp_path}/images")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StoreUnavailable, match="can start no more threads") as caught:
            store.put(DATA)
    assert caught.value.reason == "this machine can start no more threads"
    assert store.get(store.put(DATA)) == DATA


def test_calls_that_never_return_do_not_use_up_all_threads() -> None:
    calls, thaw = BoundedCalls(2, "test"), threading.Event()
    for _ in range(2):
        with pytest.raises(TimeoutError, match="did not return within"):
            calls.call(thaw.wait, 0.01)
    with pytest.raises(TimeoutError, match="earlier calls have not returned"):
        calls.call(lambda: None, 0.01)
    thaw.set()
    assert calls.call(lambda: 7, 10.0) == 7
    with pytest.raises(ZeroDivisionError):
        calls.call(lambda: 1 // 0, 10.0)
