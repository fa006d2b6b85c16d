"""The data of a decision task: its page as HTML, its picture and its title."""

from __future__ import annotations

from sqlalchemy.orm import Session

from datagen.store.tables.reviews import DecisionRow
from datagen.workflow.decision_tasks import decision_sheet, decision_template
from datagen.workflow.decision_tasks.decision_view import title_of, view_of
from datagen.workflow.services import Services

#: Number with which "Number of images" is prefilled on the decision form.
SUGGESTED_COUNT = 200


def decision_data(session: Session, services: Services, decision: DecisionRow) -> dict[str, str]:
    """Return the data of a decision task: ``html`` (the page), ``sheet`` (the picture's address) and ``title``."""
    view = view_of(session, decision)
    return {
        "html": decision_template.render(view),
        "sheet": services.links.make(decision_sheet.sheet_of(decision)),
        "title": title_of(view),
    }
