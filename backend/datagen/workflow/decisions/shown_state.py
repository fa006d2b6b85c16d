"""The state of a study that a form was shown for: a decision on a page that is out of date is refused.

A form that is sent twice, from two tabs or by two people is thus carried out once: the first decision changes the
state, and the second form belongs to the former state.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from datagen.domain.decision import Decision
from datagen.domain.lifecycle import StudyState
from datagen.errors import Refused
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import spec_versions
from datagen.workflow.services import UnitOfWork


def state_token(session: Session, study: StudyRow) -> str:
    """Return a text that differs whenever other decisions are possible, such as “3-reviewing”.

    It has the number of the newest decision point, 0 before the first, and the study's state. Whatever changes the
    state answers a decision point or creates one, or does not come back to this state under the same number. A run
    that a person paused may be paused by an alarm of its spot checks later, which a person who resumes it has to know.
    """
    newest = decision_points.newest_decision(session, study.id)
    by_person = "-by-person" if _paused_by_person(session, study) is not None else ""
    return f"{newest.number if newest is not None else 0}-{study.state}{by_person}"


def check_state(session: Session, study: StudyRow, token: str) -> None:
    """Check that a study is in the state that a page was shown for.

    Raises:
        Refused: it is not; the message says who decided what meanwhile.
    """
    if state_token(session, study) != token:
        raise Refused(
            f"Nothing was started, because the page was out of date{_last_answer(session, study)}. It is shown as it "
            "is now: look at it, and decide again if that is still what you want."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownForm:
    """A form of a page, as the submission of a decision. Its state is compared in the transaction that decides."""

    study_id: int
    #: what ``state_token`` returned for the page
    token: str

    def point(self, session: Session) -> DecisionRow | None:
        """Return the open decision point."""
        return decision_points.get_open_decision(session, self.study_id)

    def check(self, session: Session, point: DecisionRow | None, wish: Decision) -> None:  # noqa: ARG002
        """Check that the page is not out of date.

        Raises:
            Refused: the study's state has changed since the page was shown; the message says by whom.
        """
        study = session.get(StudyRow, self.study_id)
        if study is not None:  # locking a study that is gone raises the error
            check_state(session, study, self.token)

    def accept(self, unit: UnitOfWork, point: DecisionRow | None) -> bool:  # noqa: ARG002
        """Return True: what was carried out changes the state, so the form needs no record of its own."""
        return True


def _last_answer(session: Session, study: StudyRow) -> str:
    """Return the newest answer, or who paused the run, as a clause; empty if no decision was made yet."""
    paused = _paused_by_person(session, study)
    if paused is not None:
        return f": the run was paused by {paused.paused_by} at {paused.paused_at:%Y-%m-%d %H:%M} UTC"
    newest = decision_points.newest_answer(session, study.id)
    if newest is None:
        return ""
    at = f" at {newest.answered_at:%Y-%m-%d %H:%M} UTC" if newest.answered_at else ""
    return f": “{newest.action}” was decided by {newest.answered_by}{at}"


def _paused_by_person(session: Session, study: StudyRow) -> BatchRow | None:
    """Return the run of a study that a person paused; None if there is none."""
    paused = spec_versions.running_batch(session, study.id) if study.state is StudyState.PAUSED else None
    return paused if paused is not None and paused.paused_by is not None else None
