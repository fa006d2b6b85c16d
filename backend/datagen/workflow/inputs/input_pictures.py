"""Fetching input pictures from Label Studio: in bounded time, each stored as it comes, failures remembered.

A picture that could not be used is not fetched again until its address or the settings change, or a growing interval
is over. Under an upload's address the bytes never change; under others, bytes that failed once are not decoded again.
What a reading leaves is fetched by the next one, which begins where this one ended.
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
from datagen.label_studio.api.downloads import DOWNLOAD_SECONDS
from datagen.label_studio.api.transport import deadline
from datagen.store.tables import FetchedPictureRow, InputRow, now
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

#: Pictures fetched at a time: Label Studio's development server answers a few at once, and no more faster.
FETCHERS = 4
#: One reading begins no picture after this, seconds; the next one goes on.
READING_SECONDS = 30.0
#: A picture's first try may take this long, seconds, so that a slow one does not hold up the others; another try, which
#: nobody waits for, as long as a download may take.
FIRST_TRY_SECONDS = 20.0
#: A Label Studio that does not say its version within this time, seconds, does not answer at all.
ANSWER_SECONDS = 10.0
#: The wait after the first failure, and the longest; each is four times the one before.
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(days=1)
#: Failed pictures of a study are tried again a few at a time, and then not for this long.
RETRY_PAUSE = timedelta(minutes=5)
#: Rows in one statement; databases limit its parameters.
_ROWS_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A picture in the image store, or why there is none: a ``problem``, or it is not fetched yet (``unread``)."""

    digest: str | None = None
    width: int = 0
    height: int = 0
    problem: str = ""
    unread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    """A picture to be fetched."""

    url: str
    #: how often it was tried in vain
    attempts: int = 0
    #: the bytes that could not be used the last time, and why
    content: str | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """Why a picture cannot be used."""

    problem: str
    #: whether another try cannot come to anything else
    final: bool = False
    content: str | None = None


_UNREAD = Fetched(unread=True)


def fetch_pictures(
    services: Services, study_id: int, urls: Iterable[str], *, hurried: bool = False
) -> Mapping[str, Fetched]:
    """The picture of each address: those known already, and as many of the others as can be fetched in time.

    Args:
        hurried: somebody waits: a failed picture that is tried again gets no more time than a new one.

    Raises:
        LabelStudioUnavailable: Label Studio does not answer.
        StoreError: the image store does not take pictures. What was fetched before is kept in both cases.
    """
    known, new, again = _sorted(services, study_id, sorted(set(urls)))
    found: dict[str, Fetched] = dict(known)
    for one in (*new, *again):
        found[one.url] = Fetched(problem=one.problem) if one.problem else _UNREAD
    if not hurried:
        again = [] if new else again[:FETCHERS]
    with closing(_brought(services, new, again, hurried=hurried)) as brought:
        for one, outcome in brought:
            found[one.url] = _keep(services, study_id, one, outcome)
    if again and not hurried:
        _pause(services, study_id)
    return found


def is_due(session: Session, study_id: int) -> bool:
    """Whether a failed picture of the study is to be tried again."""
    due = exists().where(FetchedPictureRow.study_id == study_id, FetchedPictureRow.retry_at <= now())
    return bool(session.scalar(select(due)))


def forget_others(unit: UnitOfWork, study_id: int, urls: Iterable[str]) -> None:
    """Delete what is remembered of addresses that no task of the study has any more."""
    known = set(unit.session.scalars(select(FetchedPictureRow.address).where(FetchedPictureRow.study_id == study_id)))
    gone = sorted(known - {_address(url) for url in urls})
    for start in range(0, len(gone), _ROWS_AT_A_TIME):
        some = gone[start : start + _ROWS_AT_A_TIME]
        unit.session.execute(
            delete(FetchedPictureRow).where(FetchedPictureRow.study_id == study_id, FetchedPictureRow.address.in_(some))
        )


def _sorted(
    services: Services, study_id: int, urls: Sequence[str]
) -> tuple[dict[str, Fetched], list[_Try], list[_Try]]:
    """What is known of these addresses, those never tried under the present settings, and those to be tried again."""
    with services.database.read() as session:
        of_study = FetchedPictureRow.study_id == study_id
        rows = {row.address: row for row in session.scalars(select(FetchedPictureRow).where(of_study))}
        # pictures that a version before 0008 fetched
        earlier = {
            url: Fetched(digest=digest, width=width, height=height)
            for url, digest, width, height in session.execute(
                select(InputRow.url, InputRow.digest, InputRow.width, InputRow.height).where(
                    InputRow.study_id == study_id, InputRow.digest.is_not(None)
                )
            )
        }
    known: dict[str, Fetched] = {}
    new: list[_Try] = []
    again: list[_Try] = []
    moment, conditions = now(), _conditions(services)
    for url in urls:
        row = rows.get(_address(url))
        if not url:
            known[url] = Fetched(problem="its task has no image; upload one")
        elif row is not None and row.digest is not None:
            known[url] = Fetched(digest=row.digest, width=row.width, height=row.height)
        elif url in earlier:
            known[url] = earlier[url]
        elif row is None or row.conditions != conditions:
            new.append(_Try(url=url))
        elif row.retry_at is not None and row.retry_at <= moment:
            again.append(_Try(url=url, attempts=row.attempts, content=row.content, problem=row.problem))
        else:
            known[url] = Fetched(problem=_told(row))
    return known, new, again


def _brought(
    services: Services, new: Sequence[_Try], again: Sequence[_Try], *, hurried: bool
) -> Generator[tuple[_Try, Fetched | _Failure]]:
    """Fetch pictures side by side, and check one after the other, until the time of a reading is over."""
    patient = not new and not hurried
    seconds = DOWNLOAD_SECONDS if patient else FIRST_TRY_SECONDS
    until = time.monotonic() + (DOWNLOAD_SECONDS if patient else READING_SECONDS)
    waiting = iter((*new, *again))
    under_way: dict[Future[bytes], _Try] = {}
    cancelled = threading.Event()
    pool = ThreadPoolExecutor(FETCHERS, "fetch-picture")

    def fetch(url: str) -> bytes:
        return services.label_studio.fetch(
            url, max_bytes=services.limits.image_bytes, seconds=seconds, cancelled=cancelled
        )

    try:
        while True:
            # no more are begun than are waited for, so that memory holds few of them
            while len(under_way) < FETCHERS and (one := next(waiting, None)) is not None:
                under_way[pool.submit(fetch, one.url)] = one
            done, _ = wait(under_way, max(0.0, until - time.monotonic()), FIRST_COMPLETED)
            for future in done:
                one = under_way.pop(future)
                yield one, _checked(services, one, future)
                if time.monotonic() > until:
                    break
            if not under_way or time.monotonic() > until:
                return
    finally:
        cancelled.set()
        pool.shutdown(cancel_futures=True)


def _checked(services: Services, one: _Try, future: Future[bytes]) -> Fetched | _Failure:
    """The picture that was fetched, decoded once and stored, or what is wrong with it."""
    content: str | None = None
    try:
        data = future.result()
        content = hashlib.sha256(data).hexdigest()
        if content == one.content and one.problem:
            return _Failure(problem=one.problem, content=content)  # the very bytes that failed before
        width, height = services.decoder.size_of(data)
        return Fetched(digest=services.images.put(data), width=width, height=height)
    except StoreError:
        raise  # says nothing of the picture: the whole reading is tried again
    except LabelStudioMissing:
        return _Failure(problem="its image is gone; upload it again")
    except BadPicture as problem:
        return _Failure(problem=str(problem), final=_is_upload(one.url), content=content)
    except DatagenError as problem:
        with deadline(ANSWER_SECONDS):
            services.label_studio.version()  # raises where all of Label Studio does not answer, and not this picture
        return _Failure(problem=str(problem))


def _keep(services: Services, study_id: int, one: _Try, outcome: Fetched | _Failure) -> Fetched:
    """Store what came of a picture."""
    with services.unit() as unit:
        unit.lock_study(study_id)
        row = unit.session.get(FetchedPictureRow, (study_id, _address(one.url)))
        if row is None:
            row = FetchedPictureRow(study_id=study_id, address=_address(one.url))
            unit.session.add(row)
        row.conditions = _conditions(services)
        if isinstance(outcome, Fetched):
            row.digest, row.width, row.height = outcome.digest, outcome.width, outcome.height
            row.problem, row.content, row.attempts, row.retry_at = "", None, 0, None
            return outcome
        wait_for = min(FIRST_WAIT * 4 ** min(one.attempts, 10), LONGEST_WAIT)
        row.digest, row.width, row.height = None, 0, 0
        row.content, row.attempts = outcome.content, one.attempts + 1
        row.retry_at = None if outcome.final else now() + wait_for
        row.problem = plain(outcome.problem)[:1000]
        log.info("picture.not_used", study=study_id, attempts=row.attempts, final=outcome.final, reason=row.problem)
        return Fetched(problem=_told(row))


def _told(row: FetchedPictureRow) -> str:
    """Why a picture cannot be used, and when it is tried again."""
    if row.retry_at is None:
        return row.problem
    return f"{row.problem.rstrip('.')}. It is tried again after {row.retry_at:%Y-%m-%d %H:%M} UTC"


def _pause(services: Services, study_id: int) -> None:
    """Put off those of the study's failed pictures that were due and not among the few that were tried."""
    moment = now()
    with services.unit() as unit:
        unit.session.execute(
            update(FetchedPictureRow)
            .where(FetchedPictureRow.study_id == study_id, FetchedPictureRow.retry_at <= moment)
            .values(retry_at=moment + RETRY_PAUSE)
        )


def _address(url: str) -> str:
    return hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def _conditions(services: Services) -> str:
    """The settings that decide whether a picture can be used."""
    limits = services.limits
    return f"{limits.image_bytes} bytes, {limits.image_pixels} pixels, {services.label_studio.url}"[:300]


def _is_upload(url: str) -> bool:
    """Whether Label Studio never changes what is at an address: each upload gets one of its own."""
    try:
        return "/data/upload/" in urlsplit(url).path
    except ValueError:
        return False
