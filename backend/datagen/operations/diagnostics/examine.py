"""The examination: what is looked at, in the order of causes. The looks are in the modules beside this one.

A part that stands on another one that is wrong is not looked at: what it would say is a consequence, and the advice to
mend it would do harm (provisioning from a machine with other secrets, for one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import DatagenError
from datagen.operations.diagnostics import label_studio, parts, sharing
from datagen.operations.diagnostics.finding import CheckFailed
from datagen.settings import Settings
from datagen.store.bounded import BoundedCalls
from datagen.store.database import Database
from datagen.store.tables import StudyRow
from datagen.workflow.services import find_study

#: One look takes no longer, seconds; the delivery of an event is waited for 5 s in it.
LOOK_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the examination."""

    name: str
    good: bool
    finding: str
    #: not looked at: the finding names the part to mend first
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class _Look:
    name: str
    look: Callable[[Settings], str]
    #: the parts that must be good before a look at this one says anything
    needs: tuple[str, ...] = ()


_PARTS = (
    _Look("database", parts.check_database),
    _Look("schema", sharing.check_schema, ("database",)),
    _Look("secrets", sharing.check_secrets, ("schema",)),
    _Look("webhook secret", sharing.check_exposure, ("secrets",)),
    _Look("image store", parts.check_image_store),
    _Look("image store's mark", sharing.check_mark, ("schema", "image store")),
    _Look("picture decoder", parts.check_decoder),
    _Look("Redis", parts.check_redis),
    _Look("worker", parts.check_worker, ("Redis",)),
    _Look("engine", parts.check_engine),
    _Look("scheduler", parts.check_scheduler, ("Redis",)),
    _Look("Label Studio", label_studio.check_server),
    _Look("token", label_studio.check_token, ("Label Studio",)),
    _Look("addresses", label_studio.check_addresses, ("token",)),
    _Look("web process", parts.check_web),
    _Look("web log-in", parts.check_login, ("secrets", "web process")),
    _Look("image link", parts.check_image_link, ("secrets", "image store", "image store's mark", "web process")),
)


def examine(settings: Settings, study_name: str | None = None) -> Iterator[Check]:
    """Look at every part, the ones that others stand on first."""
    roots: dict[str, str] = {}
    for look in _PARTS:
        yield _check(look, settings, roots)
    if {"database", "schema"} & roots.keys():
        return
    for name in _studies(settings, study_name):
        for look in _looks_at(name):
            yield _check(look, settings, roots)


def _looks_at(study: str) -> tuple[_Look, ...]:
    webhooks = f"webhooks of {study}"
    return (
        _Look(f"engine of {study}", partial(parts.check_engine_of, study_name=study)),
        _Look(f"tasks of {study}", partial(label_studio.check_tasks, study_name=study)),
        _Look(webhooks, partial(label_studio.check_webhooks, study_name=study), ("secrets", "token", "addresses")),
        _Look(
            f"ML backends of {study}",
            partial(label_studio.check_backends, study_name=study),
            ("secrets", "token", "addresses", "web log-in", webhooks),
        ),
        _Look(
            f"delivery to {study}",
            partial(label_studio.check_delivery, study_name=study),
            ("token", "addresses", "web process", webhooks),
        ),
    )


def _check(look: _Look, settings: Settings, roots: dict[str, str]) -> Check:
    """Look, unless something that it needs is wrong; ``roots`` notes of each bad part which one to mend first."""
    cause = next((roots[need] for need in look.needs if need in roots), None)
    if cause is not None:
        roots[look.name] = cause
        return Check(name=look.name, good=False, skipped=True, finding=f"not looked at; mend “{cause}” first")
    try:
        finding = BoundedCalls(1, "doctor").call(lambda: look.look(settings), LOOK_SECONDS)
        return Check(name=look.name, good=True, finding=finding)
    except TimeoutError:
        roots[look.name] = look.name
        return Check(name=look.name, good=False, finding=f"did not answer within {LOOK_SECONDS:g} s; see that it runs")
    except (CheckFailed, DatagenError) as wrong:
        roots[look.name] = look.name
        return Check(name=look.name, good=False, finding=str(wrong))


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
