"""Rendering a shard: fit the engine, render, store, and add the samples to the outbox, in that order.

Rendering is deterministic: any worker produces the same bytes from the same spec and index.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy import select

from datagen.domain.inputs import ImageRef
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.sample import Sample
from datagen.domain.spec import Spec
from datagen.errors import BadPicture, DeviceFault, EngineError, StoreError
from datagen.imaging.codec import encode_mask, encode_png
from datagen.store import leases
from datagen.store.tables import BatchKind, BatchRow, OutboxKind, SampleRow, ShardRow, SpecRow, WorkState, now
from datagen.synthesis.engine import FittedEngine, Progress, Rendered, load_engine
from datagen.workflow import decision_points, sample_mapping
from datagen.workflow.backoff import persist, wait_after
from datagen.workflow.decisions import spec_versions
from datagen.workflow.decisions.transitions import conclude
from datagen.workflow.generation import batch_status, run_warnings
from datagen.workflow.generation.contact_sheet import RUN_CELLS, contact_sheet
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.generation.progress import LeaseLost, ProgressReporter, reporting_progress
from datagen.workflow.outages import Outage, outage_of, shown
from datagen.workflow.services import Services

log = structlog.get_logger()

#: A shard is given up after this many failures that are internal errors or killed its worker.
MOST_ATTEMPTS = 5
_WORKERS_DIED = (
    "rendering samples {first} to {last} killed its worker {times} times; see the end of the workers' log, and give "
    "them more memory, or use smaller images"
)


class FittedEngineCache:
    """Cache of the most recently used fitted engines of a process, so that shards of one spec share a fit."""

    def __init__(self, services: Services, keep: int = 4) -> None:
        self.pictures = StoredPictures(services.images, services.decoder)
        self._keep = keep
        self._fitted: OrderedDict[str, FittedEngine] = OrderedDict()

    def fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
        """Return the spec's engine, fitted. A fit calls ``progress``, which may raise to stop it.

        Raises:
            EngineError: the engine cannot be fitted.
        """
        if spec.digest not in self._fitted:
            self._fitted[spec.digest] = load_engine(spec.engine).fit(spec, self.pictures, progress)
            while len(self._fitted) > self._keep:
                self._fitted.popitem(last=False)
        self._fitted.move_to_end(spec.digest)
        return self._fitted[spec.digest]


@dataclass(frozen=True, kw_only=True)
class _Lease:
    """The claimed shard with its batch and spec, as plain values."""

    row: ShardRow
    batch: BatchRow
    spec: SpecRow


def render_shard(services: Services, fitted_engines: FittedEngineCache, shard_id: int) -> None:
    """Render a shard if it is still pending. If it cannot be rendered, its batch fails with the reason."""
    lease = _claim(services, shard_id)
    if lease is None:
        return
    if leases.failures(lease.row) > MOST_ATTEMPTS:
        first, last = lease.row.start, lease.row.stop - 1
        _fail(services, lease, _WORKERS_DIED.format(first=first, last=last, times=MOST_ATTEMPTS))
        return
    try:
        with (
            leases.keep_renewed(services.database, lease.row, services.lease_seconds) as lost,
            reporting_progress(services, lease.row, lease.batch, lost) as reporter,
        ):
            fitted = fitted_engines.fitted(Spec.from_json(lease.spec.body), reporter.fitting)
            began = time.monotonic()  # excludes the fit, which happens once: the duration predicts that of other shards
            samples = list(_render(services, lease, fitted, reporter))
            sheet = None
            if lease.row.start == lease.batch.first:  # a round has one shard; the sheet of a run shows its first images
                sheet_samples = samples if lease.batch.kind == BatchKind.ROUND else samples[:RUN_CELLS]
                sheet = contact_sheet(
                    services.images, fitted_engines.pictures, [sample_mapping.sample_of(row) for row in sheet_samples]
                )
    except LeaseLost:
        log.info("shard.lease_lost", shard=shard_id, batch=lease.batch.id)
        return
    except Exception as fault:
        if (outage := outage_of(fault)) is not None:
            persist(lambda: _wait(services, lease, outage))
            return
        if isinstance(fault, EngineError | StoreError | BadPicture):
            reason = str(fault)
            persist(lambda: _fail(services, lease, reason))
            return
        persist(partial(_try_again, services, lease, fault))
        raise
    report = fitted.report
    warnings = [f"{run_warnings.WARNING}{warning}" for warning in report.warnings]
    details = [f"{run_warnings.DETAIL}{detail}" for detail in report.details]
    seconds = time.monotonic() - began
    persist(
        lambda: _finish(services, lease, samples, [*report.findings, *details, *warnings], warnings, sheet, seconds)
    )
    log.info(
        "shard.rendered",
        shard=shard_id,
        batch=lease.batch.id,
        version=lease.spec.version,
        samples=len(samples),
        seconds=round(seconds, 3),
    )


def _claim(services: Services, shard_id: int) -> _Lease | None:
    with services.unit() as unit:
        batch_id = unit.session.scalar(select(ShardRow.batch_id).where(ShardRow.id == shard_id))
        if batch_id is None:
            return None
        batch = spec_versions.lock_batch(unit, batch_id)
        shard = leases.claim(unit.session, ShardRow, shard_id, services.lease_seconds)
        if shard is None:
            return None
        if batch.state != WorkState.RUNNING:  # it failed or was cancelled while another worker owned this shard
            shard.state = WorkState.CANCELLED
            return None
        shard.rendered_count = 0
        batch_status.clear(unit, batch, shard)  # the previous status is outdated
        return _Lease(row=shard, batch=batch, spec=unit.session.get_one(SpecRow, batch.spec_id))


def _render(services: Services, lease: _Lease, fitted: FittedEngine, reporter: ProgressReporter) -> Iterator[SampleRow]:
    reporter.rendering(0)
    for number, rendered in enumerate(fitted.render(range(lease.row.start, lease.row.stop)), start=1):
        sample = _store(services, rendered)
        index = sample.provenance.index
        yield SampleRow(
            key=sample_mapping.key_of(lease.batch, lease.spec.version, index),
            batch_id=lease.batch.id,
            shard_id=lease.row.id,
            index=index,
            body=sample_mapping.to_body(sample),
        )
        if number < lease.row.stop - lease.row.start:
            reporter.rendering(number)


def _store(services: Services, rendered: Rendered) -> Sample:
    height, width = rendered.mask.shape
    name = f"{rendered.provenance.index:07d}.png"
    return Sample(
        image=ImageRef(digest=services.images.put(encode_png(rendered.image)), width=width, height=height, name=name),
        mask=ImageRef(digest=services.images.put(encode_mask(rendered.mask)), width=width, height=height, name=name),
        instances=rendered.instances,
        provenance=rendered.provenance,
    )


def _finish(
    services: Services,
    lease: _Lease,
    samples: list[SampleRow],
    findings: Sequence[str],
    warnings: Sequence[str],
    sheet: str | None,
    seconds: float,
) -> None:
    """Write the samples, if this worker still owns the shard; the last shard of a batch ends its rendering."""
    # before the lock, because it searches the installed engines
    job_kind = spec_versions.shard_job_kind(str(lease.spec.body["engine"]))
    with services.unit() as unit:
        batch = spec_versions.lock_batch(unit, lease.batch.id)
        shard = leases.get_if_owned(unit.session, ShardRow, lease.row.id, lease.row.token)
        if shard is None:
            log.info("shard.lease_lost", shard=lease.row.id, batch=lease.batch.id)
            return
        unit.session.add_all(samples)
        leases.finish(shard)
        shard.rendered_at, shard.seconds = now(), seconds
        spec = unit.session.get_one(SpecRow, lease.spec.id)
        if not spec.findings:
            spec.findings = [line[:1000] for line in findings]
        if batch.kind == BatchKind.RUN:
            known = set(spec.findings)
            run_warnings.add(batch, (line[:1000] for line in warnings if line[:1000] not in known))
            run_warnings.add(batch, run_warnings.made_otherwise(unit.session, spec, samples))
        batch.status_text, batch.fit_progress, batch.retry_at = "", 0.0, None
        if batch.state == WorkState.RUNNING:
            spec_versions.add_shards(unit, batch, services.shard_size, job_kind)
        unit.session.flush()
        if sheet is not None:
            batch.sheet = sheet
        if spec_versions.is_rendered(unit.session, batch):
            batch.rendered_at = now()
        unit.add_to_outbox(batch.study_id, OutboxKind.SAMPLES, shard.id)
        decision_points.republish_decisions(unit, batch)


def _wait(services: Services, lease: _Lease, outage: Outage) -> None:
    """Release the shard until the next attempt after an outage.

    Once the shard has waited for ``outage_patience``, its batch fails with the reason.
    """
    with services.unit() as unit:
        batch = spec_versions.lock_batch(unit, lease.batch.id)
        shard = leases.get_if_owned(unit.session, ShardRow, lease.row.id, lease.row.token)
        if shard is None:
            return
        waited = now() - (shard.waiting_since or now())
        if waited < services.outage_patience:
            until = now() + timedelta(seconds=wait_after(shard.waits + 1))
            leases.wait(shard, str(outage), until)
            batch_status.say_outage(unit, batch, outage, until)
            log.warning("shard.postponed", shard=shard.id, batch=batch.id, waits_for=outage.part, reason=outage.reason)
            return
        study = batch.study.name
    waited_for = f"waited {waited.total_seconds() / 3600:.0f} hours for {outage.part}: {outage.reason}"
    _fail(services, lease, f"{waited_for}; when it works again, run: datagen retry {study!r}")


def _try_again(services: Services, lease: _Lease, fault: Exception) -> None:
    """Release the shard after an internal error; after ``MOST_ATTEMPTS`` of them, its batch fails with the reason."""
    failures = leases.failures(lease.row)
    if failures >= MOST_ATTEMPTS:
        _fail(services, lease, f"rendering failed {failures} times, last with {shown(fault)}")
        return
    with services.unit() as unit:
        batch = spec_versions.lock_batch(unit, lease.batch.id)
        row = leases.get_if_owned(unit.session, ShardRow, lease.row.id, lease.row.token)
        if row is not None:
            # a device fault concerns this process alone: another worker may claim the shard at once
            seconds = 0.0 if isinstance(fault, DeviceFault) else wait_after(failures)
            leases.postpone(row, shown(fault), now() + timedelta(seconds=seconds))
            batch_status.set_status(unit, batch, batch_status.FAILED)


def _fail(services: Services, lease: _Lease, reason: str) -> None:
    """Fail the shard's batch. Finished shards are kept, and the decision task shows the reason."""
    with services.unit() as unit:
        unit.lock_study(lease.batch.study_id)
        batch = spec_versions.lock_batch(unit, lease.batch.id)
        shard = leases.get_if_owned(unit.session, ShardRow, lease.row.id, lease.row.token)
        if shard is None:
            return
        leases.give_up(shard, reason)
        if batch.state != WorkState.RUNNING:
            return
        batch.state, batch.problem = WorkState.FAILED, reason[:1000]
        for other in unit.session.scalars(
            select(ShardRow).where(ShardRow.batch_id == batch.id, ShardRow.state == WorkState.PENDING)
        ):
            other.state = WorkState.CANCELLED
        conclude(unit, batch, StudyEvent.ROUND_FAILED if batch.kind == BatchKind.ROUND else StudyEvent.RUN_FAILED)
    log.warning("shard.failed", shard=lease.row.id, batch=lease.batch.id, reason=reason)
