"""Renewal of the signed image links in a study's tasks, and in tasks that were pushed into projects of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import structlog
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.errors import LabelStudioMissing
from datagen.label_studio.api.models import Task
from datagen.store.signed_urls import is_link_to
from datagen.store.tables.base import BatchKind, OutboxKind
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.reviews import DecisionRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.services import Services, find_study
from datagen.workflow.studies.push import check_foreign

log = structlog.get_logger()

#: Number of tasks whose links are checked at a time.
LINKS_AT_ONCE = 100
_DIGEST = SampleRow.body["image"]["digest"].as_string()


@dataclass(kw_only=True)
class MendedLinks:
    """Result of the renewal of a study's links: how many were checked, and how many were renewed."""

    looked_at: int = 0
    mended: int = 0
    #: number of decision tasks that are published again through the outbox
    decisions: int = 0


def mend_links(services: Services, name: str, pushed_to: Sequence[int] = ()) -> MendedLinks:
    """Renew those signed links in a study's review, dataset and decision tasks that are no longer valid.

    A link is invalid if its signing key is not accepted, if it has expired, or if its address is not this server's.
    The operation is idempotent; after an interruption, the next call completes it.

    Args:
        services: the services.
        name: the study's name.
        pushed_to: projects of the user that ``studies.push`` filled with images of the study, directly or through a
            storage. No row records them.

    Raises:
        Refused: there is no such study.
        InputProblem: a project of ``pushed_to`` belongs to a study; nothing is renewed.
        LabelStudioError: there is no such project, or Label Studio refuses an update; the links of earlier tasks are
            renewed.
    """
    done = MendedLinks()
    for project_id in pushed_to:
        services.label_studio.project(project_id)  # the listing of a missing project is empty
    with services.unit() as unit:
        study_id = find_study(unit.session, name).id
        for project_id in pushed_to:
            check_foreign(unit.session, project_id)
        decisions = unit.session.scalars(select(DecisionRow.id).where(DecisionRow.study_id == study_id)).all()
        for decision_id in decisions:
            unit.add_to_outbox(study_id, OutboxKind.DECISION, decision_id)
        done.decisions = len(decisions)
        previews = project_of(unit.session, study_id, ProjectKind.PREVIEWS)
        projects = {
            BatchKind.ROUND: previews,
            BatchKind.AUDIT: previews,
            BatchKind.SPOT: previews,
            BatchKind.RUN: project_of(unit.session, study_id, ProjectKind.DATASET),
        }
    for kind, own_project in projects.items():
        if own_project is not None:
            _mend_samples(services, study_id, kind, own_project, done)
    for project_id in pushed_to:
        _mend_pushed(services, study_id, project_id, done)
    return done


def _mend_samples(services: Services, study_id: int, kind: BatchKind, project_id: int, done: MendedLinks) -> None:
    last = 0
    page = (
        select(SampleRow.id, SampleRow.task_id, _DIGEST)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .where(BatchRow.study_id == study_id, BatchRow.kind == kind, SampleRow.task_id.is_not(None))
        .order_by(SampleRow.id)
        .limit(LINKS_AT_ONCE)
    )
    while True:
        with services.database.read() as session:
            rows = session.execute(page.where(SampleRow.id > last)).all()
        if not rows:
            return
        last = rows[-1].id
        digests = {task_id: image_digest for _, task_id, image_digest in rows}
        tasks, _ = read_tasks(services, project_id, ids=list(digests), annotations=False)
        for task in tasks:
            _mend(services, task, {"image": digests[task.id]}, done)
        log.info("links.mended", study=study_id, looked_at=done.looked_at, mended=done.mended)


def _mend_pushed(services: Services, study_id: int, project_id: int, done: MendedLinks) -> None:
    """Renew the links to the study's images in a project of the user, whose label config names the data's keys.

    Images that the tasks take from elsewhere (``PushOptions.images_at``) are left as they are.
    """
    unreadable: list[int] = []
    tasks = services.label_studio.tasks(project_id, annotations=False, unreadable=unreadable)
    of_study = (
        select(SampleRow.key, _DIGEST.label("digest"))
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .where(BatchRow.study_id == study_id)
    )
    while page := list(islice(tasks, LINKS_AT_ONCE)):
        keys = {task.id: str(task.data.get("datagen_key", "")) for task in page}
        with services.database.read() as session:
            rows = session.execute(of_study.where(SampleRow.key.in_(keys.values()))).all()
        digests = {row.key: row.digest for row in rows}
        for task in page:
            digest = digests.get(keys[task.id])
            if digest is not None:
                links = {key: digest for key, value in task.data.items() if is_link_to(str(value), digest)}
                _mend(services, task, links, done)
        log.info("links.mended", study=study_id, looked_at=done.looked_at, mended=done.mended)
    if unreadable:
        log.warning("links.unreadable", study=study_id, project=project_id, tasks=unreadable)


def _mend(services: Services, task: Task, links: Mapping[str, str], done: MendedLinks) -> None:
    """Renew the invalid ones of a task's links; ``links`` are the digests of their pictures, by the data's keys."""
    done.looked_at += len(links)
    renewed = {
        key: services.links.make(digest)
        for key, digest in links.items()
        if not services.links.opens(str(task.data.get(key, "")), digest)
    }
    if not renewed:
        return
    try:
        services.label_studio.update_task_data(task.id, {**task.data, **renewed})
    except LabelStudioMissing:
        return  # the task was deleted meanwhile
    done.mended += len(renewed)
