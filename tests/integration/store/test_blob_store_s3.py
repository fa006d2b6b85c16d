"""The image store on S3: the same promises over a real HTTP server that speaks S3's protocol (moto's, on loopback)."""

from __future__ import annotations

import hashlib
import multiprocessing
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from datagen.errors import StoreError
from datagen.store.blob_store import BlobStore

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
moto_server = pytest.importorskip("moto.server", reason="moto[server] is not installed")

DATA = b"some picture's bytes"
DIGEST = hashlib.sha256(DATA).hexdigest()

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def url(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import s3fs

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem(skip_instance_cache=True).makedirs("pictures", exist_ok=True)
    return f"s3://pictures/{secrets.token_hex(4)}"


@pytest.fixture
def store(url: str) -> BlobStore:
    return BlobStore(url)


def test_stored_object_is_read_until_it_is_deleted(store: BlobStore) -> None:
    assert store.put(DATA) == store.put(DATA) == DIGEST
    assert store.get(DIGEST) == DATA
    store.delete(DIGEST)
    store.delete(DIGEST)
    assert not store.exists(DIGEST)
    with pytest.raises(StoreError, match=f"image {DIGEST} is not in the store"):
        store.get(DIGEST)


def test_a_denial_is_not_remembered_when_another_process_has_written(store: BlobStore, url: str) -> None:
    other = BlobStore(url)
    assert not other.exists(DIGEST)
    store.put(DATA)
    assert other.exists(DIGEST)


def _read(store: BlobStore) -> None:
    assert store.get(DIGEST) == DATA


def test_a_forked_worker_opens_its_own_connection(store: BlobStore) -> None:
    """RQ forks for each job, and S3's event loop does not survive that."""
    store.put(DATA)
    worker = multiprocessing.get_context("fork").Process(target=_read, args=(store,))
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert store.get(DIGEST) == DATA


def test_a_missing_bucket_is_a_sentence_with_the_fix(store: BlobStore) -> None:
    with pytest.raises(StoreError, match=f"image {DIGEST} cannot be stored: .*bucket does not exist") as problem:
        BlobStore("s3://elsewhere").put(DATA)
    assert "its bucket does not exist; create the bucket, or set DATAGEN_STORE_URL to one that exists" in str(
        problem.value
    )


def test_credentials_that_are_gone_are_a_sentence_with_the_fix(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET"):
        BlobStore(url).put(DATA)


def test_credentials_that_are_refused_are_a_sentence_with_the_fix(url: str, endpoint: str) -> None:
    httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()  # from now on keys are checked
    try:
        with pytest.raises(StoreError, match="access is denied; set AWS_ACCESS_KEY_ID and AWS_SEC"):
            BlobStore(url).put(DATA)
    finally:
        httpx.post(f"{endpoint}/moto-api/reset-auth", content=b"inf").raise_for_status()


def test_a_mark_is_read_by_others_and_survives(store: BlobStore, url: str) -> None:
    assert store.mark() is None
    assert store.write_mark("3f2a") == "3f2a"
    assert BlobStore(url).mark() == "3f2a"
