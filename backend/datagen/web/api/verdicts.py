"""Verdicts on samples, in the name of the account; each is an annotation of the account in Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from pydantic import Field

from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import LabelStudioUnavailable, Refused
from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.web.api.operations import Body, Operations, Resource
from datagen.web.api.problems import OUTAGE_RETRY_SECONDS, Problem
from datagen.web.api.reading import reading
from datagen.web.api.samples import GivenVerdict
from datagen.workflow.reviews.page_verdicts import judge
from datagen.workflow.services import Services
from datagen.workflow.study_pages.sample_view import sample_row_of, sample_view_of

_VERDICT = "/studies/<int:study_id>/samples/<int:sample_id>/verdict"
_UNAVAILABLE = (
    "Label Studio does not answer, so your verdict may not be saved. Send the same request again in a moment."
)


class NewVerdict(Body):
    """A verdict; it replaces the account's earlier one on the sample."""

    opinion: Opinion
    reasons: list[Reason] = Field([], description="A good verdict may have reasons, too.")
    comment: str = ""


class SavedVerdict(Resource):
    """The verdicts on a sample after a change."""

    note: str = Field(description="Why the verdict is saved but does not count; otherwise empty.")
    verdicts: list[GivenVerdict] = Field(description="The verdicts on the sample.")


def add_verdicts(operations: Operations, database: Database, services: Callable[[], Services]) -> None:
    """Add the operations."""

    def saved(account: Account, study_id: int, sample_id: int, verdict: Verdict | None) -> SavedVerdict:
        with reading(database, account, study_id) as (session, _):
            kind = sample_row_of(session, study_id, sample_id, account.project_ids).batch.kind
        if not kind.is_reviewed:
            raise Refused(f"Images of a {kind} take no verdicts. Judge those of a round, an audit or a spot check.")
        try:
            note = judge(services(), study_id, sample_id, verdict, account.id)
        except LabelStudioUnavailable:
            headers = {"Retry-After": str(OUTAGE_RETRY_SECONDS)}
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, _UNAVAILABLE, "unavailable", headers=headers) from None
        with reading(database, account, study_id) as (session, _):
            view = sample_view_of(session, sample_row_of(session, study_id, sample_id, account.project_ids))
        return SavedVerdict(note=note, verdicts=[GivenVerdict.model_validate(each) for each in view.verdicts])

    @operations.post(_VERDICT, SavedVerdict, body=NewVerdict)
    def give_verdict(account: Account, study_id: int, sample_id: int, body: NewVerdict) -> SavedVerdict:
        """Give your verdict on a sample, or change it.

        In Label Studio it is your annotation of the sample's task.
        """
        verdict = Verdict(opinion=body.opinion, reasons=frozenset(body.reasons), comment=body.comment)
        return saved(account, study_id, sample_id, verdict)

    @operations.delete(_VERDICT, SavedVerdict)
    def take_verdict_back(account: Account, study_id: int, sample_id: int) -> SavedVerdict:
        """Remove your verdict on a sample."""
        return saved(account, study_id, sample_id, None)
