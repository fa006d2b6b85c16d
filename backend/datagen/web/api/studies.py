"""Studies: their list, one of them, a new one, and the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, TypeVar

from pydantic import Field, StringConstraints

from datagen.domain.inputs import MINIMUM_PER_ROLE, Role, recommended_images
from datagen.domain.lifecycle import StudyState
from datagen.errors import StudyExists
from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.web.api.operations import Body, Operations, Resource
from datagen.web.api.problems import Problem
from datagen.web.api.reading import Links, Page, PageQuery, reading
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.services import Services
from datagen.workflow.studies.clone import Cloned, plan_clone
from datagen.workflow.studies.open import OpenedStudy
from datagen.workflow.study_pages.history_view import history_of
from datagen.workflow.study_pages.home_view import LONGEST_SEARCH, StudyCard, home_of
from datagen.workflow.study_pages.next_step import NextStep, next_step
from datagen.workflow.study_pages.situations import statuses_of

Kind = TypeVar("Kind", bound="Study")
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]


class Progress(Resource):
    """The progress of a study's current phase."""

    done: int
    total: int
    unit: str


class Step(Resource):
    """The next step of a study."""

    turn: str = Field(description="Whose turn it is.")
    text: str
    why: str
    url: str | None = Field(description="Where it is done in Label Studio.")


class StudySummary(Resource):
    """A study."""

    id: int
    name: str
    labels: list[str]
    state: StudyState
    version: int = Field(description="The newest version that has a round; 0 before the first.")
    progress: Progress | None
    next_step: Step


class ListedStudy(StudySummary):
    """A study in the list."""

    active_at: datetime = Field(description="When somebody last acted on it.")


class StudyPage(Page):
    """A page of studies, the newest first."""

    items: list[ListedStudy]
    total: int = Field(description="Number of studies that match, on all pages.")


class InputCount(Resource):
    """The inputs of one role."""

    role: Role
    usable: int
    minimum: int
    recommended: int


class Study(StudySummary):
    """A study with its inputs and projects."""

    engine: str
    preview_size: int
    created_at: datetime
    inputs: list[InputCount]
    unread: int = Field(description="Number of inputs that were added and are still being read.")
    problems: list[str] = Field(description="Inputs that cannot be used, and what is missing, as sentences.")
    projects: dict[str, int] = Field(description="Label Studio's projects of the study, by their kind.")


class CreatedStudy(Study):
    """A study that was created."""

    not_done: list[str] = Field(
        description="What could not be set up in Label Studio, and inputs that were not cloned, as sentences."
    )


class StudyQuery(PageQuery):
    """Filters of a list of studies."""

    search: str = Field("", max_length=LONGEST_SEARCH, description="A part of the name or the description.")


class NewStudy(Body):
    """A study to create."""

    name: Annotated[str, StringConstraints(min_length=3, max_length=50, strip_whitespace=True)]
    labels: list[Label] = Field(min_length=1, max_length=50)
    engine: str | None = Field(
        None, max_length=50, description="The engine of its versions; null: that of the settings."
    )
    preview_size: int | None = Field(
        None, ge=1, le=200, description="Images of a preview round; null: as in the settings."
    )


class NewClone(Body):
    """A clone of a study to create."""

    name: Annotated[str, StringConstraints(min_length=3, max_length=50, strip_whitespace=True)]
    version: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="The clone's first version begins with the parameters of this version of the study; null: with "
        "those of the settings.",
    )


#: Clones a study: called with its id, the new name, the e-mail address of an account and the version.
CloneStudy = Callable[[int, str, str, int | None], Cloned]
#: Creates a study in the name of an account; raises ``StudyExists`` if there is one of that name.
CreateStudy = Callable[[NewStudy, str], OpenedStudy]


class AuditLine(Resource):
    """A line of the audit log."""

    id: int
    at: datetime
    who: str
    what: str


class AuditLog(Page):
    """A page of the audit log, the newest line first."""

    items: list[AuditLine]


def add_studies(
    operations: Operations,
    database: Database,
    links: Links,
    services: Callable[[], Services],
    create: CreateStudy,
    clone: CloneStudy,
) -> None:
    """Add the operations."""

    @operations.get("/studies", StudyPage, query=StudyQuery)
    def list_studies(account: Account, query: StudyQuery) -> StudyPage:
        """List the studies that you see."""
        with database.read() as session:
            view = home_of(session, account.project_ids, query.search, query.cursor, query.limit)
        items = [_listed(card, links) for card in view.cards]
        return StudyPage(items=items, total=view.total, next_cursor=view.next_before)

    @operations.get("/studies/<int:study_id>", Study)
    def get_study(account: Account, study_id: int) -> Study:
        """Return one study."""
        return study_of(study_id, account, Study)

    @operations.post("/studies", CreatedStudy, body=NewStudy, status=HTTPStatus.CREATED)
    def create_study(account: Account, body: NewStudy) -> CreatedStudy:
        """Create a study with its projects in Label Studio.

        Only an account that sees every project of the installation may do it, because the projects belong to the
        installation's own account.
        """
        if account.project_ids is not None:
            raise Problem(HTTPStatus.FORBIDDEN, _MAY_NOT_CREATE)
        try:
            opened = create(body, account.email)
        except StudyExists as refusal:
            raise Problem(HTTPStatus.CONFLICT, str(refusal), "exists") from refusal
        return study_of(opened.study_id, account, CreatedStudy, not_done=opened.problems)

    @operations.post("/studies/<int:study_id>/clones", CreatedStudy, body=NewClone, status=HTTPStatus.CREATED)
    def clone_study(account: Account, study_id: int, body: NewClone) -> CreatedStudy:
        """Create a study with the inputs, engine and options of another one, as “datagen clone” does.

        The inputs are those that the study has now, with what is drawn on them. Versions, verdicts and runs are not
        copied. An interrupted request is continued by another one with the same name and version.
        """
        with reading(database, account, study_id):
            if account.project_ids is not None:
                raise Problem(HTTPStatus.FORBIDDEN, _MAY_NOT_CREATE)
        plan = plan_clone(services(), study_id, body.name, body.version)
        cloned = clone(study_id, plan.name, account.email, plan.version)
        unused = [problem for added in cloned.added.values() for problem in added.problems]
        not_done = [*cloned.opened.problems, *unused[:_MAX_PROBLEMS]]
        return study_of(cloned.opened.study_id, account, CreatedStudy, not_done=not_done)

    @operations.get("/studies/<int:study_id>/audit-log", AuditLog, query=PageQuery)
    def list_audit_log(account: Account, study_id: int, query: PageQuery) -> AuditLog:
        """List who decided and changed what about a study, and when."""
        with reading(database, account, study_id) as (session, _):
            view = history_of(session, study_id, account.project_ids, query.cursor, query.limit)
        return AuditLog(items=[AuditLine.model_validate(line) for line in view.lines], next_cursor=view.next_before)

    def study_of(study_id: int, account: Account, kind: type[Kind], **further: list[str]) -> Kind:
        with reading(database, account, study_id) as (session, study):
            status = statuses_of(session, [study])[study.id]
            inputs = collect(session, study)
        return kind(
            id=study.id,
            name=study.name,
            labels=study.labels,
            state=study.state,
            version=status.version,
            progress=Progress.model_validate(status.progress) if status.progress is not None else None,
            next_step=_step(next_step(status.situation), links),
            engine=study.engine,
            preview_size=study.preview_size,
            created_at=study.created_at,
            inputs=[
                InputCount(
                    role=role,
                    usable=inputs.count(role),
                    minimum=MINIMUM_PER_ROLE,
                    recommended=recommended_images(role),
                )
                for role in Role
            ],
            unread=inputs.unread,
            problems=[*inputs.missing(), *map(str, inputs.problems[:_MAX_PROBLEMS])],
            projects={project.name.lower(): number for project, number in status.situation.projects.items()},
            **further,
        )


#: Largest number of unusable inputs that are named.
_MAX_PROBLEMS = 100
_MAY_NOT_CREATE = (
    "Label Studio does not show you every project of Datagen, so you may not create one. Ask somebody who sees them "
    "all, or run: datagen provision"
)


def _listed(card: StudyCard, links: Links) -> ListedStudy:
    return ListedStudy(
        id=card.id,
        name=card.name,
        labels=list(card.labels),
        state=card.state,
        version=card.version,
        progress=Progress.model_validate(card.progress) if card.progress is not None else None,
        next_step=_step(card.next_step, links),
        active_at=card.active_at,
    )


def _step(step: NextStep, links: Links) -> Step:
    return Step(turn=str(step.turn), text=step.text, why=step.why, url=links.of(step.target))
