"""Fits a spec: fits the composite engine for the places, and fits a LoRA or loads an existing one. Imports torch.

A LoRA is stored under the digest of everything that it depends on: the concepts, the weights' digest and the fitting
parameters. The same spec therefore always finds its own LoRA. A child spec that changes only places and numbers finds
the LoRA of its parent."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from datagen.domain.spec import Spec
from datagen.domain.wording import counted
from datagen.errors import EngineError
from datagen.synthesis.composite.engine import CompositeEngine
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.inference.pipeline_cache import ModelArtifacts, drop_cached_pipeline
from datagen.synthesis.diffusion.inference.renderer import FittedDiffusion
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.runtime.artifact_cache import is_whole, judgement_of, kept_in, losses_of
from datagen.synthesis.diffusion.runtime.device_errors import free_memory
from datagen.synthesis.diffusion.training.dataset import examples_of, make_lessons
from datagen.synthesis.diffusion.training.trainer import CURVE, LOSSES, Trainer
from datagen.synthesis.diffusion.weights import pipeline_loading
from datagen.synthesis.diffusion.weights.inspection import digest_of, examine
from datagen.synthesis.diffusion.weights.pipeline_loading import LORA_FILE
from datagen.synthesis.diffusion.weights.preflight import find_lora, find_weights
from datagen.synthesis.engine import FitReport, Pictures, Progress

#: The diffusion engine's parameters that a fit depends on.
_FIT_PARAMETERS = (
    *("resolution", "context", "token", "prompt", "object_prompt"),
    *("fit_steps", "fit_batch", "lora_rank", "learning_rate", "dtype"),
)
#: Progress, from 0 to 1, after composite's fit, after the weights are read, and after the LoRA's fit.
_PLACES_DONE, _WEIGHTS_DONE, _LORA_DONE = 0.05, 0.1, 0.95
#: Timeout in seconds of one attempt to lock a fit's folder; after each attempt the caller may stop the fit.
_LOCK_SECONDS = 2.0
#: The file with the data of a fit: spec, duration, number of lessons, evaluated losses, device and torch version.
_ABOUT = "fit.json"


def fit(spec: Spec, pictures: Pictures, progress: Progress, folder: Path) -> FittedDiffusion:
    """Return the fitted engine for a spec.

    Raises:
        EngineError: the inputs are unusable, or the weights cannot be loaded.
        DeviceFault: the device failed.
    """
    own, where = DiffusionParameters.from_spec(spec.parameters)
    placing = CompositeEngine().fit(
        replace(spec, engine="composite", parameters=where),
        pictures,
        lambda done, activity: progress(_PLACES_DONE * done, activity),
    )
    progress(_PLACES_DONE, "reading the weights")
    weights, _ = find_weights(own)
    weights = weights or _fetch(own)
    digest = digest_of(weights, folder / "digests.json")
    progress(_WEIGHTS_DONE, "read the weights")
    lora, problems = find_lora(own)
    if problems:
        raise EngineError(" ".join(f"{problem}." for problem in problems))
    if lora is not None:
        lora_report = FitReport(findings=(f"The LoRA {lora.name} is used as it is; none was fitted.",))
    elif own.fit_steps:
        fitting = _LoraFit(
            spec=spec,
            pictures=pictures,
            own=own,
            placing=CompositeParameters.from_json(where),
            weights=weights,
            weights_digest=digest,
            folder=folder,
        )
        lora, lora_report = fitting.run(progress)
        if not (weights / "unet").is_dir():
            detail = "The attention part of the loss was left out: this model has no maps of single words."
            lora_report += FitReport(details=(detail,))
    else:
        finding = "The weights are used as they are; no LoRA was fitted (“diffusion.fit_steps” is 0)."
        lora_report = FitReport(findings=(finding,))
    progress(_LORA_DONE, "fitted")
    artifacts = ModelArtifacts(
        weights=weights,
        weights_digest=digest,
        lora=lora,
        lora_digest=hashlib.sha256(lora.read_bytes()).hexdigest() if lora else None,
        folder=folder,
    )
    report = placing.report + lora_report
    progress(1.0, "fitted")
    return FittedDiffusion(spec, own, CompositeParameters.from_json(where), placing, pictures, artifacts, report)


def _fetch(own: DiffusionParameters) -> Path:
    """Download the weights from the hub and inspect them; return their folder."""
    weights = pipeline_loading.fetch(own)
    if problems := examine(weights, own.variant).problems:
        raise EngineError(" ".join(f"{problem}." for problem in problems))
    return weights


def fit_key(spec: Spec, own: DiffusionParameters, where: CompositeParameters, weights_digest: str) -> str:
    """Return the key of a fit: the digest (SHA-256, hex) of everything that it depends on."""
    body = {
        "labels": spec.labels,
        "concepts": [asdict(concept) for concept in spec.concepts],
        "mattes": dict(where.matte_choices),
        # absent without a model, so that the keys of fits made before this parameter existed stay the same
        **({"segmenter": where.segmenter} if where.segmenter else {}),
        "weights": weights_digest,
        **{name: getattr(own, name) for name in _FIT_PARAMETERS},
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoraFit:
    """Fits a LoRA to a spec's concepts, in a folder that is named after the fit's key."""

    spec: Spec
    pictures: Pictures
    own: DiffusionParameters
    placing: CompositeParameters
    #: the folder of the model's weights, and the digest of its files
    weights: Path
    weights_digest: str
    #: the engine's folder, which contains the fits
    folder: Path

    def run(self, progress: Progress) -> tuple[Path, FitReport]:
        """Return the LoRA's file and the report of its fit; fit the LoRA if no complete one is stored.

        If another worker is fitting the same LoRA, wait until it is done.
        """
        key = fit_key(self.spec, self.own, self.placing, self.weights_digest)
        home = self.folder / "fits" / key
        report = FitReport()
        with kept_in(home):
            home.mkdir(parents=True, exist_ok=True)
        with _locked(home, progress):
            if not (is_whole(home / LORA_FILE) and losses_of(home / LOSSES)):
                if (home / LORA_FILE).exists():
                    finding = f"The fit that was kept in {home} is damaged; the model was taught again."
                    report += FitReport(findings=(finding,))
                self._train(home, int(key[:15], 16), progress)
                free_memory()
        return home / LORA_FILE, report + _report_of_fit(home)

    def _train(self, home: Path, seed: int, progress: Progress) -> None:
        """Train the LoRA, and write it and the data of its fit."""
        lessons = make_lessons(examples_of(self.spec, self.pictures, self.placing), self.pictures, self.own, seed)
        progress(_WEIGHTS_DONE, "loading the weights")
        drop_cached_pipeline()
        device = pipeline_loading.device_of(self.own.device)
        pipeline_loading.same_every_time()
        dtype = pipeline_loading.dtype_of(self.own.dtype, device)
        pipeline = pipeline_loading.load(self.weights, self.own, device, dtype)
        began = time.monotonic()
        trainer = Trainer(pipeline, lessons, self.own, home, seed)
        trainer.run(
            lambda done, activity: progress(
                _WEIGHTS_DONE + (_LORA_DONE - _WEIGHTS_DONE) * done, f"teaching the model: {activity}"
            )
        )
        about = {
            "spec": self.spec.digest,
            "seconds": round(time.monotonic() - began, 1),
            "lessons": trainer.lessons,
            "before": trainer.before,
            "after": trainer.after,
            "device": pipeline_loading.device_name(device),
            "torch": torch.__version__,
        }
        with kept_in(home):
            (home / _ABOUT).write_text(json.dumps(about))


@contextmanager
def _locked(home: Path, progress: Progress) -> Iterator[None]:
    """Context manager that holds the lock of a fit's folder. The lock of a worker that dies is released."""
    lock = FileLock(home / "lock")
    while not _try_lock(lock, home):
        progress(_WEIGHTS_DONE, "another worker is teaching the model")
    try:
        yield
    finally:
        lock.release()


def _try_lock(lock: FileLock, home: Path) -> bool:
    """Try to acquire the lock for ``_LOCK_SECONDS``; return whether it was acquired."""
    with kept_in(home):
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            return False
    return True


def _report_of_fit(home: Path) -> FitReport:
    """Return a report with the number of steps and the losses of a fit, and a warning if the loss did not fall."""
    curve = f"Curve of its loss: diffusion/fits/{home.name}/{CURVE} in the data folder."
    summary = f"A LoRA was fitted in {counted(len(losses_of(home / LOSSES)), 'step')}"
    judgement = judgement_of(home / _ABOUT)
    if judgement is None:
        return FitReport(findings=(f"{summary}.",), details=(curve,))
    before, after = judgement
    details = (f"The loss on the concept, at the same noise, went from {before:.3f} to {after:.3f}. {curve}",)
    if after < before:
        return FitReport(findings=(f"{summary}; the model fits the concept better than before.",), details=details)
    warning = "the model learned nothing of the concept; lower “diffusion.learning_rate”, or fit longer."
    return FitReport(findings=(f"{summary}.",), details=details, warnings=(warning,))
