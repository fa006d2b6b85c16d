"""The functions that RQ runs, by name; each takes a row's id and calls the workflow."""

from __future__ import annotations

import structlog

from datagen.errors import LabelStudioUnavailable, StoreUnavailable
from datagen.jobs import sweeper
from datagen.jobs.context import atelier, queues, settings, workshop
from datagen.workflow import events, inputs, proposing, reconciling, rendering, retrying, telling

log = structlog.get_logger()


def handle_event(inbox_id: int) -> None:
    """Act on an inbox row."""
    events.handle(workshop(), inbox_id)


def refresh_inputs(study_id: int) -> None:
    """Read a study's inputs."""
    with retrying.reading_inputs(workshop(), study_id):
        inputs.refresh(workshop(), study_id)


def render(shard_id: int) -> None:
    """Render a shard."""
    rendering.render_shard(workshop(), atelier(), shard_id)


def propose(study_id: int) -> None:
    """Make the proposals of a study's input tasks."""
    with retrying.making_proposals(workshop(), study_id):
        proposing.propose(workshop(), atelier().pictures, study_id)


def tell(outbox_id: int) -> None:
    """Tell Label Studio of an outbox row."""
    telling.tell(workshop(), outbox_id)


def reconcile() -> None:
    """Find what webhooks did not tell."""
    try:
        reconciling.reconcile(workshop())
    except LabelStudioUnavailable as away:
        log.warning("reconciler.postponed", reason=str(away))  # the next look sees the same changes


def sweep() -> None:
    """Knock for every row that waits although nobody knocks; delete old events, and what killed writers left."""
    sweeper.sweep(workshop().database, queues())
    sweeper.prune_inbox(workshop().database, settings().inbox_days)
    try:
        workshop().images.remove_drafts()
    except StoreUnavailable as away:
        log.warning("sweep.drafts_left", reason=away.reason)  # the next sweep removes them
