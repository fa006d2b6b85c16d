"""Exports to a bucket, over a real HTTP server that speaks S3's protocol: refused, gone in the middle, resumed."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from datagen.domain.sample import Sample
from datagen.errors import StoreUnavailable
from datagen.export.archive import ExportOptions, write_to
from datagen.store import object_folder
from datagen.workflow.studies.destinations import destination

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")

from s3 import BUCKET, S3, s3_server

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.serve()


@pytest.fixture
def bucket(s3: S3) -> Any:
    import boto3

    return boto3.resource("s3", endpoint_url=s3.url).Bucket(BUCKET)


@pytest.fixture
def place() -> str:
    return f"s3://{BUCKET}/{secrets.token_hex(4)}/set"


@pytest.fixture
def samples(shelf: Any) -> list[Sample]:
    mask = np.pad(np.ones((9, 9), np.uint8), 12)
    return [shelf.sample(mask, ("dent",), index=i) for i in range(36)]


def write(place: str, shelf: Any, samples: Any, *, patience_s: float = 0.0, overwrite: bool = False) -> None:
    with destination(place, "all", overwrite=overwrite, patience_s=patience_s) as sink:
        options = ExportOptions(formats=("coco", "webdataset"))
        write_to(sink, samples, labels=("dent",), read=shelf.read, about={}, options=options)


def doing(samples: list[Sample], number: int, deed: Callable[[], None]) -> Iterator[Sample]:
    """Yield the samples; call ``deed`` before the one with index ``number``."""
    yield from samples[:number]
    deed()
    yield from samples[number:]


def content(bucket: Any, place: str) -> dict[str, tuple[bytes, Any]]:
    prefix = place.removeprefix(f"s3://{BUCKET}/") + "/"
    return {
        item.key.removeprefix(prefix): (item.get()["Body"].read(), item.last_modified)
        for item in bucket.objects.filter(Prefix=prefix)
    }


def test_bucket_that_goes_away_in_the_middle_is_a_sentence_and_the_next_export_goes_on(
    s3: S3, bucket: Any, shelf: Any, samples: list[Sample], place: str
) -> None:
    with pytest.raises(StoreUnavailable, match=r"set cannot be written: .*see that it runs, and that --out"):
        write(place, shelf, doing(samples, 34, s3.refuse))
    s3.serve()
    first = content(bucket, place)
    assert "export.unfinished" in first
    assert len(first) > 3
    write(place, shelf, samples)
    second = content(bucket, place)
    for path in set(first) - {"export.unfinished"}:
        assert second[path] == first[path]  # with its time: it was not written again
    write(f"{place}-whole", shelf, samples)
    whole = content(bucket, f"{place}-whole")
    assert {path: data for path, (data, _) in second.items()} == {path: data for path, (data, _) in whole.items()}


def test_bucket_that_comes_back_is_waited_for(
    s3: S3, bucket: Any, shelf: Any, samples: list[Sample], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, turn = object_folder.refusal_of, threading.Lock()

    def serving_again(*arguments: Any) -> Any:
        with turn:
            if s3.is_refusing:
                s3.serve()
        return original(*arguments)

    monkeypatch.setattr(object_folder, "refusal_of", serving_again)
    write(place, shelf, doing(samples, 30, s3.refuse), patience_s=60.0)
    assert len([path for path in content(bucket, place) if path.startswith("images/")]) == len(samples)


def test_bucket_without_rights_is_a_sentence_at_once(s3: S3, shelf: Any, samples: list[Sample], place: str) -> None:
    s3.answer(403, "AccessDenied")
    with pytest.raises(StoreUnavailable, match=r"set cannot be written: access is denied; give Datagen's user or cred"):
        write(place, shelf, samples, patience_s=600.0)


@pytest.mark.usefixtures("s3")
def test_bucket_that_does_not_exist_is_a_sentence(shelf: Any, samples: list[Sample]) -> None:
    with pytest.raises(StoreUnavailable, match="create the bucket, or set --out to one that exists"):
        write("s3://nowhere/set", shelf, samples)


def test_zip_is_one_object_once_it_is_complete(
    s3: S3, bucket: Any, shelf: Any, samples: list[Sample], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are small here; an incomplete zip of several parts leaves no object."""
    monkeypatch.setattr("datagen.store.object_folder._PART_BYTES", 5 * 2**20)
    heavy = [shelf.sample(np.pad(np.ones((9, 9), np.uint8), 500), ("dent",), index=i) for i in range(4)]
    with pytest.raises(
        StoreUnavailable, match=f"nothing is left of {place}/a.zip, .* goes on in the folder {place}/a,"
    ):
        write(f"{place}/a.zip", shelf, doing(heavy * 1, 4, s3.refuse))
    s3.serve()
    assert content(bucket, place) == {}
    write(f"{place}/a.zip", shelf, heavy)
    (data, _) = content(bucket, place)["a.zip"]
    assert len(data) > 5 * 2**20
