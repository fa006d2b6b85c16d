"""Rendering of a shard. The steps, in order: fit the engine, render, store the images, add the samples to the outbox.

Rendering is deterministic: workers on machines of the same kind (same releases, same CPU features) produce the same
bytes from the same spec and index.
"""

from __future__ import annotations

import shlex
import threading
import time
from dataclasses import dataclass
from functools import partial

import structlog
from cachetools import LRUCache
from sqlalchemy import select

from datagen.domain.spec import Spec
from datagen.errors import BadPicture, CannotRender, EngineError, StoreError
from datagen.store import leases
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow, FitPictureRow, ShardRow, SpecRow
from datagen.synthesis.engine import FitReport, FittedEngine, Progress, load_engine
from datagen.workflow import decision_points, sample_mapping
from datagen.workflow.decisions import batch_end, spec_versions
from datagen.workflow.generation import (
    batch_status,
    fit_pictures,
    rejected_samples,
    run_warnings,
    shard_samples,
    spot_checks,
)
from datagen.workflow.generation.contact_sheet import contact_sheet
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.generation.progress import reporting_progress
from datagen.workflow.generation.sample_facts import facts_of
from datagen.workflow.generation.shard_samples import ShardSamples
from datagen.workflow.leased_work import LeasedJob, Write, leased_work
from datagen.workflow.outages import Outage, shown
from datagen.workflow.parameter_routing import remedy
from datagen.workflow.services import JobKind, Services, UnitOfWork

log = structlog.get_logger()

#: Number of failures after which a shard is given up. Internal errors count, and attempts that killed their worker.
MAX_ATTEMPTS = 5
#: Longest finding or warning that rows contain, characters.
_LONGEST_LINE = 1000
#: Largest number of fitted engines that a process keeps.
MAX_FITTED = 4
_WORKERS_DIED = (
    "rendering samples {first} to {last} killed its worker {times} times; see the end of the workers' log, and give "
    "them more memory, or use smaller images"
)


class FittedEngineCache:
    """Cache of the most recently used fitted engines of a process.

    Shards of one spec share a fit. So do specs that differ only in what the fit does not read, as the versions of a
    study usually do.
    """

    def __init__(self, services: Services) -> None:
        self.pictures = StoredPictures(services.images, services.decoder)
        self._settings = services.engine_settings
        self._fitted: LRUCache[str, FittedEngine] = LRUCache(MAX_FITTED)

    def fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
        """Return the spec's engine, fitted. A fit calls ``progress``, which may raise to stop it.

        Raises:
            EngineError: the engine cannot be fitted.
        """
        fitted = self._fitted.get(spec.digest)
        if fitted is None:
            fitted = self._fitted[spec.digest] = self._refitted(spec) or self._newly_fitted(spec, progress)
        return fitted

    def _refitted(self, spec: Spec) -> FittedEngine | None:
        others = list(self._fitted.values())
        return next((fitted for other in others if (fitted := other.refitted(spec)) is not None), None)

    def _newly_fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
        engine = load_engine(spec.engine, self._settings)
        try:
            return engine.fit(spec, self.pictures, progress)
        except CannotRender as problem:
            raise EngineError(" ".join([str(problem), *remedy(spec.engine)])) from problem


def render_shard(services: Services, fitted_engines: FittedEngineCache, shard_id: int) -> None:
    """Render a shard, if it is due and no other worker owns it. If it cannot be rendered, its batch fails."""
    leased_work(services, RenderJob(services, fitted_engines), shard_id)


class RenderJob(LeasedJob[ShardRow]):
    """The rendering of a shard."""

    table = ShardRow
    max_failures = MAX_ATTEMPTS
    permanent_faults = (EngineError, StoreError, BadPicture)

    def __init__(self, services: Services, fitted_engines: FittedEngineCache) -> None:
        self._services, self._fitted_engines = services, fitted_engines
        self.patience = services.outage_patience

    def claim(self, unit: UnitOfWork, row_id: int, seconds: float) -> ShardRow | None:
        """Claim the shard, unless its batch failed or was cancelled while another worker owned it."""
        batch_id = unit.session.scalar(select(ShardRow.batch_id).where(ShardRow.id == row_id))
        if batch_id is None:
            return None
        batch = spec_versions.lock_batch(unit, batch_id)
        shard = super().claim(unit, row_id, seconds)
        if shard is None:
            return None
        if batch.state != WorkState.RUNNING:
            shard.state = WorkState.CANCELLED
            return None
        shard.rendered_count = 0
        batch_status.note_claim(unit, batch, shard)
        return shard

    def lock(self, unit: UnitOfWork, row: ShardRow, *, gives_up: bool) -> None:
        """Lock the batch, and the study if the batch is to fail."""
        if gives_up:
            unit.lock_study(unit.session.get_one(BatchRow, row.batch_id).study_id)
        spec_versions.lock_batch(unit, row.batch_id)

    def work(self, row: ShardRow, lost: threading.Event) -> Write[ShardRow]:
        """Render the samples, store their images, and return a function that writes the rows."""
        with self._services.database.read() as session:
            batch = session.get_one(BatchRow, row.batch_id)
            spec = session.get_one(SpecRow, batch.spec_id)
            shows_fit = batch.kind is BatchKind.ROUND and not fit_pictures.is_kept(session, spec.id)
        with reporting_progress(self._services, row, batch, lost) as reporter:
            parsed = Spec.from_json(spec.body)
            fitted = self._fitted_engines.fitted(parsed, reporter.fitting)
            began = time.monotonic()  # excludes the fit, which happens once: the duration predicts that of other shards
            drawn = shard_samples.draw_samples(self._services, row, batch, parsed, fitted, reporter)
            sheet = self._sheet(batch, drawn)
            seconds = time.monotonic() - began
            learned = fit_pictures.fit_pictures(self._services.images, parsed, fitted) if shows_fit else []
        rendered = RenderedShard(
            drawn=drawn,
            learned=learned,
            report=fitted.report,
            sheet=sheet,
            seconds=seconds,
            # before the batch is locked, because it searches the installed engines
            job_kind=spec_versions.shard_job_kind(str(spec.body["engine"]), batch.kind),
        )
        return partial(self.write, rendered)

    def _sheet(self, batch: BatchRow, drawn: ShardSamples) -> str | None:
        """Store the contact sheet of a batch if this is its first shard, and return the sheet's digest; else None.

        The first shard of a round or an audit contains all of its samples. The sheet of a run shows its first images.
        """
        if not drawn.cells:
            return None
        numbers = [sample_mapping.shown_number(batch, sample.index) for sample in drawn.samples[: len(drawn.cells)]]
        return contact_sheet(self._services.images, drawn.cells, numbers)

    def write(self, rendered: RenderedShard, unit: UnitOfWork, row: ShardRow) -> None:
        """Write the rows of the samples. If this is the last shard of the batch, mark the batch as rendered."""
        batch = unit.session.get_one(BatchRow, row.batch_id)
        spec = unit.session.get_one(SpecRow, batch.spec_id)
        samples = rendered.drawn.samples
        unit.session.add_all(samples)
        if batch.kind is BatchKind.RUN:
            unit.session.add_all(map(facts_of, samples))
        rejected_samples.note(unit, batch, row, rendered.drawn)
        row.rendered_at, row.seconds = now(), rendered.seconds
        if not spec.findings:
            spec.findings = rendered.findings
        if rendered.learned:
            fit_pictures.write(unit.session, spec.id, rendered.learned)
        if batch.kind == BatchKind.RUN:
            known = set(spec.findings)
            run_warnings.add(batch, (warning for warning in rendered.warnings if warning not in known))
            run_warnings.add(batch, run_warnings.made_otherwise(unit.session, spec, samples))
        batch.status_text, batch.fit_progress, batch.retry_at = "", 0.0, None
        if batch.state == WorkState.RUNNING:
            spec_versions.add_shards(unit, batch, self._services.shard_size, rendered.job_kind)
        unit.session.flush()
        if batch.kind == BatchKind.RUN and batch.state in (WorkState.RUNNING, WorkState.PAUSED):
            spot_checks.add(unit, batch, row, samples, self._services.spot_checks)
        if rendered.sheet is not None:
            batch.sheet = rendered.sheet
        if batch_end.is_rendered(unit.session, batch):
            batch.rendered_at = now()
        # before the samples, whose publication takes longer: the page says that it goes on
        decision_points.republish_decisions(unit, batch)
        unit.add_to_outbox(batch.study_id, OutboxKind.SAMPLES, row.id)
        log.info(
            "shard.rendered",
            shard=row.id,
            batch=batch.id,
            version=spec.version,
            samples=len(samples),
            rejected=rendered.drawn.counts.rejected,
            seconds=round(rendered.seconds, 3),
        )

    def waits(self, unit: UnitOfWork, row: ShardRow, outage: Outage) -> None:
        """Show the outage and the time of the next attempt on the decision task."""
        batch_status.say_outage(unit, unit.session.get_one(BatchRow, row.batch_id), outage, row.due_at)

    def failed(self, unit: UnitOfWork, row: ShardRow) -> None:
        """Show on the decision task that rendering failed and is tried again. People cannot remedy the reason."""
        batch_status.set_status(unit, unit.session.get_one(BatchRow, row.batch_id), batch_status.FAILED)

    def gave_up(self, unit: UnitOfWork, row: ShardRow) -> None:
        """Fail the shard's batch."""
        batch_end.fail(unit, unit.session.get_one(BatchRow, row.batch_id), row.error)

    def after_failures(self, row: ShardRow, fault: Exception) -> str:
        """Return the reason for giving up the shard, with the number of failures."""
        return f"rendering failed {leases.failures(row)} times, last with {shown(fault)}"

    def after_deaths(self, row: ShardRow) -> str:
        """Return the reason for giving up the shard, with the samples during which the workers were killed."""
        return _WORKERS_DIED.format(first=row.start, last=row.stop - 1, times=MAX_ATTEMPTS)

    def after_patience(self, row: ShardRow, waited_for: str) -> str:
        """Return the reason for giving up the shard, with the command that resumes the batch."""
        with self._services.database.read() as session:
            study = session.get_one(BatchRow, row.batch_id).study.name
        return f"{waited_for}; when it works again, run: datagen retry {shlex.quote(study)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedShard:
    """The result of rendering a shard."""

    drawn: ShardSamples
    #: pictures of what the fit learned; empty unless the batch is the first round of its version
    learned: list[FitPictureRow]
    #: the report of the engine's fit
    report: FitReport
    #: digest of the contact sheet; None if the shard is not the first of its batch
    sheet: str | None
    #: seconds that the rendering took, without the fit
    seconds: float
    #: the kind of the jobs that render the batch's next shards
    job_kind: JobKind

    @property
    def warnings(self) -> list[str]:
        """The warnings of the fit as report lines, which rows store."""
        return [f"{run_warnings.WARNING}{warning}"[:_LONGEST_LINE] for warning in self.report.warnings]

    @property
    def findings(self) -> list[str]:
        """The findings, details and warnings of the fit as report lines, which rows store."""
        details = [f"{run_warnings.DETAIL}{detail}" for detail in self.report.details]
        return [*(line[:_LONGEST_LINE] for line in (*self.report.findings, *details)), *self.warnings]
