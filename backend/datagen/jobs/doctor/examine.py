"""The examination: what is looked at, and in which order. The looks are in ``parts`` and ``label_studio``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import DatagenError
from datagen.jobs.doctor import label_studio, parts
from datagen.jobs.doctor.finding import Wrong
from datagen.settings import Settings
from datagen.store.bounded import BoundedCalls
from datagen.store.database import Database
from datagen.store.rows import StudyRow
from datagen.workflow.workshop import find_study

#: One look takes no longer, seconds; the delivery of an event is waited for 5 s in it.
LOOK_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the examination."""

    name: str
    good: bool
    finding: str


def examine(settings: Settings, study_name: str | None = None) -> Iterator[Check]:
    """Look at every part, the ones that others stand on first; a part that is wrong does not hide the next."""
    for name, look in (
        ("database", parts.check_database),
        ("image store", parts.check_image_store),
        ("Redis", parts.check_redis),
        ("worker", parts.check_worker),
        ("engine", parts.check_engine),
        ("scheduler", parts.check_scheduler),
        ("Label Studio", label_studio.check_server),
        ("token", label_studio.check_token),
        ("web process", parts.check_web),
        ("image link", parts.check_image_link),
    ):
        yield _check(name, look, settings)
    for name in _studies(settings, study_name):
        yield _check(f"engine of {name}", partial(parts.check_engine_of, study_name=name), settings)
        yield _check(f"webhooks of {name}", partial(label_studio.check_webhooks, study_name=name), settings)
        yield _check(f"delivery to {name}", partial(label_studio.check_delivery, study_name=name), settings)


def _check(name: str, look: Callable[[Settings], str], settings: Settings) -> Check:
    try:
        return Check(name=name, good=True, finding=BoundedCalls(1, "doctor").call(lambda: look(settings), LOOK_SECONDS))
    except TimeoutError:
        return Check(name=name, good=False, finding=f"did not answer within {LOOK_SECONDS:g} s; see that it runs")
    except (Wrong, DatagenError) as wrong:
        return Check(name=name, good=False, finding=str(wrong))


def _studies(settings: Settings, wanted: str | None) -> list[str]:
    """The studies to look at: the one asked for, else all; none while the database is away."""
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            if wanted is not None:
                return [find_study(session, wanted).name]
            return list(session.scalars(select(StudyRow.name).order_by(StudyRow.name)))
    except SQLAlchemyError:
        return []
    finally:
        database.close()
