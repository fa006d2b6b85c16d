"""Common parts of the resources: access to a study, pages of lists, and links."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from pydantic import Field
from sqlalchemy.orm import Session

from datagen.errors import Refused
from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.store.tables.studies import StudyRow
from datagen.web.api.operations import Query, Resource
from datagen.web.api.problems import Problem
from datagen.workflow.study_pages.access import visible_study
from datagen.workflow.study_pages.next_step import LabelStudioTarget

#: Largest and usual number of items of a page.
MAX_ITEMS, USUAL_ITEMS = 200, 50
#: A number that ids and indices of rows are compared with.
Cursor = Annotated[int, Field(ge=0, le=2**53)]


class PageQuery(Query):
    """Query of a page of a list."""

    limit: int = Field(USUAL_ITEMS, ge=1, le=MAX_ITEMS, description="Largest number of items.")
    cursor: Cursor | None = Field(None, description="“next_cursor” of the page before; left out for the first page.")


class Page(Resource):
    """A page of a list."""

    next_cursor: int | None = Field(None, description="The “cursor” of the next page; null on the last page.")


class Share(Resource):
    """The share of good verdicts, with its 90 % interval; 0 to 1."""

    good: float
    low: float
    high: float


@contextmanager
def reading(database: Database, account: Account, study_id: int) -> Iterator[tuple[Session, StudyRow]]:
    """Context manager of a session that reads a study, which the account may see.

    Raises:
        Problem: there is no such study, or the block raised ``Refused`` because a part of the study does not exist.
    """
    with database.read() as session:
        try:
            yield session, visible_study(session, study_id, account.project_ids)
        except Refused as refusal:
            raise Problem(HTTPStatus.NOT_FOUND, str(refusal)) from None


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses in Label Studio; ``address_of`` makes that of a project or task."""

    address_of: Callable[[LabelStudioTarget], str]

    def of(self, target: LabelStudioTarget | None) -> str | None:
        """Return the address of a project or task; None without one."""
        return self.address_of(target) if target is not None else None
