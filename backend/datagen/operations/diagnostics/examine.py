"""Runs the checks of all parts in the order of their dependencies; the other modules define the checks.

A check is skipped if a part that it depends on is faulty. Its finding would only be a consequence of that fault, and
its advice could do harm. An example is the advice to provision from a machine with other secrets.
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
from datagen.store.bounded import BoundedCalls, CallNotStarted
from datagen.store.database import Database
from datagen.store.tables.studies import StudyRow
from datagen.workflow.services import find_study

#: Timeout of one check, seconds; it includes the wait of 5 s for the delivery of an event.
CHECK_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check."""

    name: str
    good: bool
    finding: str
    #: whether the check did not run; the finding then names the part to mend first
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    check: Callable[[Settings], str]
    #: the parts that must be good before this check is meaningful
    needs: tuple[str, ...] = ()


_PARTS = (
    _Step("database", parts.check_database),
    _Step("schema", sharing.check_schema, ("database",)),
    _Step("secrets", sharing.check_secrets, ("schema",)),
    _Step("webhook secret", sharing.check_exposure, ("secrets",)),
    _Step("image store", parts.check_image_store),
    _Step("image store's mark", sharing.check_mark, ("schema", "image store")),
    _Step("picture decoder", parts.check_decoder),
    _Step("Redis", parts.check_redis),
    _Step("worker", parts.check_worker, ("Redis",)),
    _Step("engine", parts.check_engine),
    _Step("scheduler", parts.check_scheduler, ("Redis",)),
    _Step("Label Studio", label_studio.check_server),
    _Step("token", label_studio.check_token, ("Label Studio",)),
    _Step("addresses", label_studio.check_addresses, ("token",)),
    _Step("web process", parts.check_web),
    _Step("web log-in", parts.check_login, ("secrets", "web process")),
    _Step("image link", parts.check_image_link, ("secrets", "image store", "image store's mark", "web process")),
)


def examine(settings: Settings, study_name: str | None = None) -> Iterator[Check]:
    """Yield the result of every check, in the order of the dependencies."""
    roots: dict[str, str] = {}
    for step in _PARTS:
        yield _run(step, settings, roots)
    if {"database", "schema"} & roots.keys():
        return
    for name in _studies(settings, study_name):
        for step in _study_checks(name):
            yield _run(step, settings, roots)


def _study_checks(study: str) -> tuple[_Step, ...]:
    webhooks = f"webhooks of {study}"
    return (
        _Step(f"engine of {study}", partial(parts.check_engine_of, study_name=study)),
        _Step(f"tasks of {study}", partial(label_studio.check_tasks, study_name=study)),
        _Step(
            f"projects of {study}", partial(label_studio.check_project_settings, study_name=study), ("token", "schema")
        ),
        _Step(webhooks, partial(label_studio.check_webhooks, study_name=study), ("secrets", "token", "addresses")),
        _Step(
            f"ML backends of {study}",
            partial(label_studio.check_backends, study_name=study),
            ("secrets", "token", "addresses", "web log-in", webhooks),
        ),
        _Step(
            f"delivery to {study}",
            partial(label_studio.check_delivery, study_name=study),
            ("token", "addresses", "web process", webhooks),
        ),
    )


def _run(step: _Step, settings: Settings, roots: dict[str, str]) -> Check:
    """Run a check, unless a part that it needs is faulty.

    Args:
        step: the check, and the parts that it needs.
        settings: the settings.
        roots: faulty part → the part to mend first. If this check fails or is skipped, its own part is added.
    """
    cause = next((roots[need] for need in step.needs if need in roots), None)
    if cause is not None:
        roots[step.name] = cause
        return Check(name=step.name, good=False, skipped=True, finding=f"not looked at; mend “{cause}” first")
    try:
        finding = BoundedCalls(1, "doctor").call(lambda: step.check(settings), CHECK_SECONDS)
        return Check(name=step.name, good=True, finding=finding)
    except TimeoutError:
        roots[step.name] = step.name
        return Check(name=step.name, good=False, finding=f"did not answer within {CHECK_SECONDS:g} s; see that it runs")
    except (CheckFailed, DatagenError, CallNotStarted) as error:
        roots[step.name] = step.name
        return Check(name=step.name, good=False, finding=str(error))


def _studies(settings: Settings, wanted: str | None) -> list[str]:
    """Return the names of the studies to check: only ``wanted`` if it is given, else all studies.

    Return none if the database is unavailable.
    """
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
