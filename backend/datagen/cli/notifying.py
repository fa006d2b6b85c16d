"""The commands of ``datagen notify``: who is notified of a study's events, and what was sent."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.cli.console import AsJson, Study, needs_data, print_json, report_errors, show, show_table
from datagen.cli.usage import Command
from datagen.domain.wording import counted
from datagen.entrypoints.bootstrap import services

if TYPE_CHECKING:
    from datagen.store.tables.notifications import RecipientRow
    from datagen.workflow.notifications.deliveries import LoggedDelivery

#: Number of deliveries that are listed.
SHOWN = 20

app = typer.Typer(
    name="notify",
    help="Who is notified of a study's events: by e-mail, webhook, Slack, Teams, Telegram and others.",
    no_args_is_help=True,
)

Recipient = Annotated[int, typer.Argument(help="The recipient's number; “datagen notify list” shows it.")]


@app.command(cls=Command)
@needs_data
def add(
    name: Study,
    address: Annotated[
        str | None,
        typer.Argument(
            help="An e-mail address, https://… for a webhook, or an apprise address such as slack://…; by default it "
            "is asked for, and so stays out of the shell's history."
        ),
    ] = None,
    person: Annotated[str | None, typer.Option(help="Who it is for; by default your user name.")] = None,
    event: Annotated[
        list[str] | None, typer.Option(help="Only this event, such as run.done; may be repeated; by default all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a recipient; for a webhook the signing secret is printed, this once."""
    from datagen.workflow.notifications.recipients import add_recipient

    given = address if address is not None else _asked()
    with report_errors():
        user = getpass.getuser()
        row = add_recipient(
            services(),
            _study_id(name),
            given,
            person=person or user,
            events=event or (),
            who=f"{user} (datagen notify)",
        )
    if as_json:
        print_json({**_as_json(row), **({"secret": row.secret} if row.secret else {})})
        return
    show(f"{name}: recipient {row.id} is {row.shown}; try it: datagen notify test {name!r} {row.id}")
    if row.secret:
        show(f"  signing secret, shown only now: {row.secret}")


@app.command("list", cls=Command)
@needs_data
def list_(name: Study, as_json: AsJson = False) -> None:
    """List a study's recipients, without the secret parts of their addresses."""
    from datagen.workflow.notifications.recipients import recipients_of

    with report_errors():
        study_id = _study_id(name)
        with services().database.read() as session:
            rows = recipients_of(session, study_id)
    if as_json:
        print_json({"study": name, "recipients": [_as_json(row) for row in rows]})
    elif not rows:
        show(f"{name}: nobody is notified; see: datagen notify add --help")
    else:
        heads = ("number", "person", "channel", "address", "events")
        show_table(heads, [(str(row.id), row.person, row.channel, row.shown, " ".join(row.events)) for row in rows])


@app.command(cls=Command)
@needs_data
def remove(name: Study, recipient: Recipient) -> None:
    """Remove a recipient; its pending notifications are cancelled."""
    from datagen.workflow.notifications.recipients import remove_recipient

    with report_errors():
        shown = remove_recipient(services(), _study_id(name), recipient, who=f"{getpass.getuser()} (datagen notify)")
        show(f"{name}: {shown} is removed")


@app.command(cls=Command)
@needs_data
def test(name: Study, recipient: Recipient) -> None:
    """Send a test to a recipient at once, in one attempt."""
    from datagen.workflow.notifications.deliveries import deliver, send_test

    with report_errors():
        study_id = _study_id(name)
        delivery_id = send_test(services(), study_id, recipient, who=getpass.getuser())
        deliver(services(), delivery_id)  # unless a worker has taken it already
        _report(study_id, delivery_id)


@app.command(cls=Command)
@needs_data
def deliveries(name: Study, as_json: AsJson = False) -> None:
    """List the newest deliveries of a study: their states, attempts, and next attempts."""
    from datagen.workflow.notifications.deliveries import log_of

    with report_errors():
        study_id = _study_id(name)
        with services().database.read() as session:
            logged = log_of(session, study_id, SHOWN)
    if as_json:
        print_json({"study": name, "deliveries": [_delivery_as_json(delivery) for delivery in logged]})
    elif not logged:
        show(f"{name}: nothing was sent yet")
    else:
        heads = ("number", "event", "when", "to", "state", "last attempt")
        show_table(heads, [_line(delivery) for delivery in logged])


@app.command(cls=Command)
@needs_data
def redeliver(
    delivery: Annotated[int, typer.Argument(help="The delivery's number; “datagen notify deliveries” shows it.")],
) -> None:
    """Send a notification again, with the same id; a worker sends it within seconds."""
    from datagen.workflow.notifications.deliveries import redeliver as send_again

    with report_errors():
        send_again(services(), delivery, who=f"{getpass.getuser()} (datagen notify)")
        show(f"delivery {delivery} is sent again; see: datagen notify deliveries STUDY")


def _asked() -> str:
    """Return the address from the terminal, without showing it, or from standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Address", hide_input=True))
    return sys.stdin.readline().strip()


def _study_id(name: str) -> int:
    from datagen.workflow.services import find_study

    with services().database.read() as session:
        return find_study(session, name).id


def _report(study_id: int, delivery_id: int) -> None:
    """Print the outcome of a delivery, and exit with 1 if it was not accepted."""
    from datagen.workflow.notifications.deliveries import log_of

    with services().database.read() as session:
        [delivery] = log_of(session, study_id, 1, before=delivery_id + 1)
    outcome = delivery.latest[0].outcome if delivery.latest else "a worker is sending it"
    show(f"{delivery.shown}: {outcome}")
    if delivery.latest and not delivery.latest[0].accepted:
        raise typer.Exit(1)


def _line(delivery: LoggedDelivery) -> tuple[str, ...]:
    latest = delivery.latest[0].outcome if delivery.latest else "none yet"
    if delivery.next_at is not None and delivery.latest:
        latest += f"; the next one at {delivery.next_at:%Y-%m-%d %H:%M} UTC"
    attempts = f" after {counted(delivery.attempts, 'attempt')}" if delivery.attempts else ""
    return (
        str(delivery.id),
        str(delivery.event),
        f"{delivery.happened_at:%Y-%m-%d %H:%M} UTC",
        f"{delivery.person}, {delivery.shown}",
        f"{delivery.state}{attempts}",
        latest,
    )


def _as_json(row: RecipientRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "person": row.person,
        "channel": str(row.channel),
        "address": row.shown,
        "events": row.events,
    }


def _delivery_as_json(delivery: LoggedDelivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "message": delivery.message_id,
        "event": str(delivery.event),
        "at": delivery.happened_at.isoformat(),
        "person": delivery.person,
        "address": delivery.shown,
        "state": str(delivery.state),
        "delivered_at": delivery.delivered_at.isoformat() if delivery.delivered_at else None,
        "next_at": delivery.next_at.isoformat() if delivery.next_at else None,
        "attempts": [
            {
                "at": attempt.at.isoformat(),
                "seconds": round(attempt.seconds, 3),
                "accepted": attempt.accepted,
                "outcome": attempt.outcome,
            }
            for attempt in delivery.latest
        ],
    }
