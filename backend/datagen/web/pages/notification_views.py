"""The actions of the page of notifications: add, test and remove recipients, and send a notification again."""

from __future__ import annotations

from flask import request

from datagen.web.pages.actions import Actions, Actor, Outcome
from datagen.web.pages.addresses import Addresses
from datagen.workflow.notifications.deliveries import redeliver, send_test
from datagen.workflow.notifications.recipients import add_recipient, remove_recipient

_ROOT = "/studies/<int:study_id>/notifications"


def add_notifications(actions: Actions, to: Addresses) -> None:
    """Add the actions to the pages."""

    def back(study_id: int, **_values: int) -> str:
        return to.notifications(study_id)

    @actions.add(f"{_ROOT}/add", back)
    def add_notification_recipient(actor: Actor, study_id: int) -> Outcome:
        row = add_recipient(
            actor.services,
            study_id,
            request.form.get("address", ""),
            person=request.form.get("person", "").strip() or actor.email,
            events=request.form.getlist("event"),
            who=actor.email,
        )
        done = f"{row.shown} was added."
        if row.secret:
            done += f" Give the receiver this signing secret, which is shown only now: {row.secret}"
        return Outcome(to.notifications(study_id), done)

    @actions.add(f"{_ROOT}/<int:recipient_id>/test", back)
    def test_notification_recipient(actor: Actor, study_id: int, recipient_id: int) -> Outcome:
        send_test(actor.services, study_id, recipient_id, who=actor.email)
        return Outcome(to.notifications(study_id), "A test is being sent. Load the page again to see its outcome.")

    @actions.add(f"{_ROOT}/<int:recipient_id>/remove", back)
    def remove_notification_recipient(actor: Actor, study_id: int, recipient_id: int) -> Outcome:
        shown = remove_recipient(actor.services, study_id, recipient_id, who=actor.email)
        return Outcome(to.notifications(study_id), f"{shown} was removed. Its pending notifications are cancelled.")

    @actions.add(f"{_ROOT}/deliveries/<int:delivery_id>/redeliver", back)
    def redeliver_notification(actor: Actor, study_id: int, delivery_id: int) -> Outcome:
        redeliver(actor.services, delivery_id, who=actor.email, study_id=study_id)
        return Outcome(to.notifications(study_id), "It is being sent again. Load the page again to see its outcome.")
