"""The fit of a study's inputs before *build preview* is chosen, so that the round can begin with rendering.

The fit is kept where the engine's processes share it, for example in its folder (``EngineSettings.shares_fits``).
"""

from __future__ import annotations

import threading
import time

import structlog

from datagen.domain.lifecycle import TABLE, StudyEvent
from datagen.errors import DatagenError
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import needs_gpu
from datagen.workflow.decisions import spec_versions
from datagen.workflow.generation.shard_rendering import FittedEngineCache
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.leased_work import LeaseLost
from datagen.workflow.services import Services

log = structlog.get_logger()

#: Longest time of an early fit, seconds. Until it ends, its worker takes no event.
FITTING_SECONDS = 60.0


class _TooLong(DatagenError):
    """The fit takes longer than an early one may."""


def fit_early(services: Services, fitted_engines: FittedEngineCache, study_id: int, lost: threading.Event) -> bool:
    """Fit a study's engine to its inputs as *build preview* would now; return whether it is fitted.

    Nothing is fitted if a preview cannot be built, inputs are unread, or the engine needs a GPU, where a fit may take
    an hour. The reason why inputs cannot be fitted is logged; people read it when they choose *build preview*.

    Raises:
        LeaseLost: ``lost`` was set.
    """
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        if study is None or study.inputs_read != study.inputs_changed:
            return False
        if (study.state, StudyEvent.BUILD_PREVIEW) not in TABLE or needs_gpu(study.engine):
            return False
        inputs = collect(session, study)
        if inputs.missing() or inputs.unread:
            return False
        parent = spec_versions.current_spec(session, study.id)
        version = spec_versions.next_version(session, study.id)
        parameters = spec_versions.parameters_for(study, parent, services.engine_parameters)
    spec = spec_versions.spec_from_inputs(study, parent, inputs, version, parameters)
    began = time.monotonic()

    def progress(_share: float, _step: str) -> None:
        if lost.is_set():
            raise LeaseLost
        if time.monotonic() - began > FITTING_SECONDS:
            raise _TooLong(f"the fit takes longer than {FITTING_SECONDS:g} seconds")

    try:
        fitted_engines.fitted(spec, progress)
    except DatagenError as problem:
        log.info("early_fit.not_made", study=study_id, reason=str(problem))
        return False
    log.info("early_fit.made", study=study_id, seconds=round(time.monotonic() - began, 2))
    return True
