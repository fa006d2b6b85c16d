"""The functions that RQ runs by name. The function of a row's job takes the row's id and calls the workflow."""

from __future__ import annotations

import structlog

from datagen.entrypoints.bootstrap import fitted_engines, queues, services, settings
from datagen.errors import LabelStudioUnavailable, StoreUnavailable
from datagen.queue import recovery
from datagen.store import api_requests
from datagen.workflow.events import reconciler, webhook_events
from datagen.workflow.generation import shard_rendering
from datagen.workflow.handovers import expiry, handover_job
from datagen.workflow.inputs import input_jobs
from datagen.workflow.notifications import deliveries
from datagen.workflow.outbox import dispatcher

log = structlog.get_logger()


def handle_event(inbox_id: int) -> None:
    """Handle the event in an inbox row."""
    webhook_events.handle(services(), inbox_id)


def refresh_inputs(study_id: int) -> None:
    """Read a study's inputs."""
    input_jobs.read_inputs(services(), study_id)


def render(shard_id: int) -> None:
    """Render a shard."""
    shard_rendering.render_shard(services(), fitted_engines(), shard_id)


def propose(study_id: int) -> None:
    """Compute the proposals for a study's input tasks, and fit its inputs early."""
    input_jobs.make_proposals(services(), fitted_engines(), study_id)


def publish_outbox_row(outbox_id: int) -> None:
    """Publish an outbox row in Label Studio."""
    dispatcher.dispatch(services(), outbox_id)


def deliver_notification(delivery_id: int) -> None:
    """Send a notification to its recipient."""
    deliveries.deliver(services(), delivery_id)


def hand_over(handover_id: int) -> None:
    """Make a download, or push images into a project."""
    handover_job.hand_over(services(), handover_id)


def reconcile() -> None:
    """Find changes in Label Studio for which no webhook arrived."""
    try:
        reconciler.reconcile(services())
    except LabelStudioUnavailable as error:
        log.warning("reconciler.postponed", reason=str(error))  # the next run finds the same changes


def sweep() -> None:
    """Enqueue due rows that are not queued. Delete what is old: events, deliveries, idempotency keys, and files.

    Those files are drafts that killed writers left in the image store, and the zips of downloads that have expired.
    """
    recovery.sweep(services().database, queues())
    recovery.prune_inbox(services().database, settings().inbox_days)
    deliveries.prune(services().database)
    api_requests.prune(services().database)
    try:
        services().images.remove_drafts()
        expiry.remove_expired(services())
    except StoreUnavailable as error:
        log.warning("sweep.files_left", reason=error.reason)  # the next run removes them
