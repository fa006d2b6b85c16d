"""The data of a decision task: its page, which is the template over the view of its rows, its picture and its title."""

from __future__ import annotations

from sqlalchemy.orm import Session

from datagen.store.tables.reviews import DecisionRow
from datagen.workflow.decision_tasks import decision_sheet, decision_template
from datagen.workflow.decision_tasks.decision_view import title_of, view_of
from datagen.workflow.services import Services

#: Prefills "Number of images" on the decision form.
SUGGESTED_COUNT = 200


def decision_data(session: Session, services: Services, decision: DecisionRow) -> dict[str, str]:
    """Return the data of a decision task: ``html``, ``sheet`` (an address), ``title``."""
    view = view_of(session, decision)
    return {
        "html": decision_template.render(view),
        "sheet": services.links.make(decision_sheet.sheet_of(decision)),
        "title": title_of(view),
    }
