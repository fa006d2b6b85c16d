"""Fetches input pictures from Label Studio within a time limit. Pictures and failures are stored one by one.

If the time limit is reached, the next reading continues with the other pictures.

A picture that could not be used is fetched again when its address or the settings change, or after a growing interval.
The bytes at the address of an upload never change. At any other address they may; bytes that could not be decoded once
are not decoded again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import structlog
from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.errors import BadPicture, DatagenError, LabelStudioMissing, StoreError
from datagen.label_studio.api.port import DOWNLOAD_SECONDS
from datagen.label_studio.api.transport import deadline
from datagen.store.tables.base import now
from datagen.store.tables.inputs import FetchedPictureRow, InputRow
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

#: Number of pictures that are fetched at the same time. More are not faster with Label Studio's development server.
FETCHERS = 4
#: Time for which a reading begins to fetch further pictures, seconds. The next reading fetches the others.
READING_SECONDS = 30.0
#: Time limit of the first attempt to fetch a picture, seconds. It is short, so that a slow picture does not delay the
#: others. Later attempts in the background have the time limit of a download.
FIRST_TRY_SECONDS = 20.0
#: Time within which Label Studio has to return its version, seconds. If it does not, it is considered unavailable.
ANSWER_SECONDS = 10.0
#: The first and the longest wait after a failure. Each wait is four times the previous one.
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(days=1)
#: Pause between two readings that retry failed pictures of a study; each retries a few.
RETRY_PAUSE = timedelta(minutes=5)
#: Number of rows in one statement. It is limited because databases limit the parameters of a statement.
_ROWS_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The result for an address: a picture in the image store, the ``problem`` with it, or ``unread`` (not fetched)."""

    digest: str | None = None
    width: int = 0
    height: int = 0
    problem: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempt:
    """An attempt to fetch the picture at an address."""

    url: str
    #: number of failed attempts before this one
    attempts: int = 0
    #: from the last attempt: SHA-256 (hex) of the bytes that could not be used, and the reason
    content: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """The reason why a picture cannot be used."""

    problem: str
    #: whether another attempt would have the same result
    final: bool = False
    content: str | None = None


_UNREAD = Fetched(unread=True)


def fetch_pictures(
    services: Services, study_id: int, urls: Iterable[str], *, hurried: bool = False
) -> Mapping[str, Fetched]:
    """Return the picture of each address: those fetched before, and as many others as can be fetched in time.

    Pictures that were fetched before an exception are kept.

    Args:
        services: the services with Label Studio, the image store and the decoder.
        study_id: the study.
        urls: the addresses.
        hurried: whether a person waits for the result. Retries then get no more time than first attempts.

    Raises:
        LabelStudioUnavailable: Label Studio does not answer.
        StoreError: the image store does not accept pictures.
    """
    known, new, retries = _classify(services, study_id, sorted(set(urls)))
    pictures: dict[str, Fetched] = dict(known)
    for attempt in (*new, *retries):
        pictures[attempt.url] = Fetched(problem=attempt.problem) if attempt.problem else _UNREAD
    if not hurried:
        retries = [] if new else retries[:FETCHERS]
    with closing(_fetch_all(services, new, retries, hurried=hurried)) as fetched:
        for attempt, outcome in fetched:
            pictures[attempt.url] = _store_result(services, study_id, attempt, outcome)
    if retries and not hurried:
        _postpone_due(services, study_id)
    return pictures


def is_due(session: Session, study_id: int) -> bool:
    """Return whether a failed picture of the study is due for another attempt."""
    due = exists().where(FetchedPictureRow.study_id == study_id, FetchedPictureRow.retry_at <= now())
    return bool(session.scalar(select(due)))


def forget_others(unit: UnitOfWork, study_id: int, urls: Iterable[str]) -> None:
    """Delete the rows of addresses that no task of the study has any more."""
    known = set(unit.session.scalars(select(FetchedPictureRow.address).where(FetchedPictureRow.study_id == study_id)))
    obsolete = sorted(known - {_address(url) for url in urls})
    for start in range(0, len(obsolete), _ROWS_AT_A_TIME):
        addresses = obsolete[start : start + _ROWS_AT_A_TIME]
        unit.session.execute(
            delete(FetchedPictureRow).where(
                FetchedPictureRow.study_id == study_id, FetchedPictureRow.address.in_(addresses)
            )
        )


def _classify(
    services: Services, study_id: int, urls: Sequence[str]
) -> tuple[dict[str, Fetched], list[_Attempt], list[_Attempt]]:
    """Sort addresses by what is to be done: return known results, first attempts, and retries that are due."""
    with services.database.read() as session:
        of_study = FetchedPictureRow.study_id == study_id
        rows = {row.address: row for row in session.scalars(select(FetchedPictureRow).where(of_study))}
        # pictures fetched before migration 0008
        stored_inputs = {
            url: Fetched(digest=digest, width=width, height=height)
            for url, digest, width, height in session.execute(
                select(InputRow.url, InputRow.digest, InputRow.width, InputRow.height).where(
                    InputRow.study_id == study_id, InputRow.digest.is_not(None)
                )
            )
        }
    known: dict[str, Fetched] = {}
    new: list[_Attempt] = []
    retries: list[_Attempt] = []
    time_now, conditions = now(), _conditions(services)
    for url in urls:
        row = rows.get(_address(url))
        if not url:
            known[url] = Fetched(problem="its task has no image; upload one")
        elif row is not None and row.digest is not None:
            known[url] = Fetched(digest=row.digest, width=row.width, height=row.height)
        elif url in stored_inputs:
            known[url] = stored_inputs[url]
        elif row is None or row.conditions != conditions:
            new.append(_Attempt(url=url))
        elif row.retry_at is not None and row.retry_at <= time_now:
            retries.append(_Attempt(url=url, attempts=row.attempts, content=row.content, problem=row.problem))
        else:
            known[url] = Fetched(problem=_problem_text(row))
    return known, new, retries


def _fetch_all(
    services: Services, new: Sequence[_Attempt], retries: Sequence[_Attempt], *, hurried: bool
) -> Generator[tuple[_Attempt, Fetched | _Failure]]:
    """Fetch pictures concurrently, and yield each attempt with its result until the time limit of a reading."""
    is_background = not new and not hurried
    seconds = DOWNLOAD_SECONDS if is_background else FIRST_TRY_SECONDS
    until = time.monotonic() + (DOWNLOAD_SECONDS if is_background else READING_SECONDS)
    pending = iter((*new, *retries))
    attempts: dict[Future[bytes], _Attempt] = {}
    cancelled = threading.Event()
    pool = ThreadPoolExecutor(FETCHERS, "fetch-picture")

    def fetch(url: str) -> bytes:
        return services.label_studio.fetch(
            url, max_bytes=services.limits.image_bytes, seconds=seconds, cancelled=cancelled
        )

    try:
        while time.monotonic() < until:
            # at most FETCHERS are begun and not yet checked, so that memory holds few of them
            while len(attempts) < FETCHERS and (attempt := next(pending, None)) is not None:
                attempts[pool.submit(fetch, attempt.url)] = attempt
            if not attempts:
                return
            done, _ = wait(attempts, max(0.0, until - time.monotonic()), FIRST_COMPLETED)
            for future in done:
                attempt = attempts.pop(future)
                yield attempt, _check(services, attempt, future)
                if time.monotonic() > until:
                    break
    finally:
        cancelled.set()
        pool.shutdown(cancel_futures=True)


def _check(services: Services, attempt: _Attempt, future: Future[bytes]) -> Fetched | _Failure:
    """Decode and store a fetched picture, or return the reason why it cannot be used."""
    content: str | None = None
    try:
        data = future.result()
        content = hashlib.sha256(data).hexdigest()
        if content == attempt.content and attempt.problem:
            return _Failure(problem=attempt.problem, content=content)  # the same bytes failed before
        width, height = services.decoder.size_of(data)
        return Fetched(digest=services.images.put(data), width=width, height=height)
    except StoreError:
        raise  # does not concern the picture: the whole reading is retried
    except LabelStudioMissing:
        return _Failure(problem="its image is gone; upload it again")
    except BadPicture as problem:
        return _Failure(problem=str(problem), final=_is_upload(attempt.url), content=content)
    except DatagenError as problem:
        with deadline(ANSWER_SECONDS):
            services.label_studio.version()  # raises if Label Studio itself is unavailable, not only this picture
        return _Failure(problem=str(problem))


def _store_result(services: Services, study_id: int, attempt: _Attempt, outcome: Fetched | _Failure) -> Fetched:
    """Store the result of an attempt in its row, and return it as ``Fetched``."""
    with services.unit() as unit:
        unit.lock_study(study_id)
        row = unit.session.get(FetchedPictureRow, (study_id, _address(attempt.url)))
        if row is None:
            row = FetchedPictureRow(study_id=study_id, address=_address(attempt.url))
            unit.session.add(row)
        row.conditions = _conditions(services)
        if isinstance(outcome, Fetched):
            row.digest, row.width, row.height = outcome.digest, outcome.width, outcome.height
            row.problem, row.content, row.attempts, row.retry_at = "", None, 0, None
            return outcome
        wait_for = min(FIRST_WAIT * 4 ** min(attempt.attempts, 10), LONGEST_WAIT)
        row.digest, row.width, row.height = None, 0, 0
        row.content, row.attempts = outcome.content, attempt.attempts + 1
        row.retry_at = None if outcome.final else now() + wait_for
        row.problem = plain(outcome.problem)[:1000]
        log.info("picture.not_used", study=study_id, attempts=row.attempts, final=outcome.final, reason=row.problem)
        return Fetched(problem=_problem_text(row))


def _problem_text(row: FetchedPictureRow) -> str:
    """Return the reason why a picture cannot be used, with the time of the next attempt."""
    if row.retry_at is None:
        return row.problem
    return f"{row.problem.rstrip('.')}. It is tried again after {row.retry_at:%Y-%m-%d %H:%M} UTC"


def _postpone_due(services: Services, study_id: int) -> None:
    """Postpone those failed pictures of the study that are due but were not retried in this reading."""
    time_now = now()
    with services.unit() as unit:
        unit.session.execute(
            update(FetchedPictureRow)
            .where(FetchedPictureRow.study_id == study_id, FetchedPictureRow.retry_at <= time_now)
            .values(retry_at=time_now + RETRY_PAUSE)
        )


def _address(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _conditions(services: Services) -> str:
    """Return as text the settings that decide whether a picture can be used."""
    limits = services.limits
    return f"{limits.image_bytes} bytes, {limits.image_pixels} pixels, {services.label_studio.url}"[:300]


def _is_upload(url: str) -> bool:
    """Return whether an address is that of an upload. Its bytes never change: each upload has its own address."""
    try:
        return "/data/upload/" in urlsplit(url).path
    except ValueError:
        return False
