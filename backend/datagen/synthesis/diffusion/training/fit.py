"""From a spec to a fitted engine: composite decides where, a LoRA is fitted or found, the painter is made ready.

A fit is kept under the digest of what it depends on: the concepts, the weights' digest and the parameters of fitting.
The same spec always finds its own; a child that only moves where and how many finds its parent's. Imports torch.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
from datagen.synthesis.engine import Pictures, Progress

#: Of the parameters, those that a fit depends on.
_FIT_PARAMETERS = (
    *("resolution", "context", "token", "prompt", "object_prompt"),
    *("fit_steps", "fit_batch", "lora_rank", "learning_rate", "dtype"),
)
#: The shares of the work that composite's fit, the weights and the lessons have in the progress shown.
_WHERE, _WEIGHTS, _TAUGHT = 0.05, 0.1, 0.95
#: How long one try for another worker's fit waits, seconds; between tries the caller may stop.
_WAIT_SECONDS = 2.0
#: The file that says how a fit was made.
_ABOUT = "fit.json"


def fit(spec: Spec, pictures: Pictures, progress: Progress, folder: Path) -> FittedDiffusion:
    """Everything that rendering this spec needs.

    Raises:
        EngineError: the inputs cannot be learned from, or the weights cannot be loaded.
        DeviceFault: the device failed.
    """
    own, where = DiffusionParameters.from_spec(spec.parameters)
    placing = CompositeEngine().fit(
        replace(spec, engine="composite", parameters=where),
        pictures,
        lambda done, what: progress(_WHERE * done, what),
    )
    progress(_WHERE, "reading the weights")
    weights, _ = find_weights(own)
    weights = weights or _fetched(own)
    digest = digest_of(weights, folder / "digests.json")
    progress(_WEIGHTS, "read the weights")
    findings: list[str] = []
    details: list[str] = []
    warnings: list[str] = []
    lora, unusable = find_lora(own)
    if unusable:
        raise EngineError(" ".join(f"{said}." for said in unusable))
    if lora is not None:
        findings.append(f"The LoRA {lora.name} is used as it is; none was fitted.")
    elif own.fit_steps:
        lora, before = _taught(spec, pictures, own, where, weights, digest, folder, progress)
        finding, detail, warning = _about_the_fit(lora.parent)
        findings += [*before, finding]
        details.append(detail)
        warnings += [warning] if warning else []
        if not (weights / "unet").is_dir():
            details.append("The attention part of the loss was left out: this model has no maps of single words.")
    else:
        findings.append("The weights are used as they are; no LoRA was fitted (“diffusion.fit_steps” is 0).")
    progress(_TAUGHT, "fitted")
    means = ModelArtifacts(
        weights=weights,
        weights_digest=digest,
        lora=lora,
        lora_digest=hashlib.sha256(lora.read_bytes()).hexdigest() if lora else None,
        folder=folder,
    )
    said = placing.report
    report = replace(
        said,
        findings=(*said.findings, *findings),
        details=(*said.details, *details),
        warnings=(*said.warnings, *warnings),
    )
    progress(1.0, "fitted")
    return FittedDiffusion(spec, own, CompositeParameters.from_json(where), placing, pictures, means, report)


def _fetched(own: DiffusionParameters) -> Path:
    """The weights from the hub, looked at once they are here."""
    weights = pipeline_loading.fetch(own)
    if problems := examine(weights, own.variant).problems:
        raise EngineError(" ".join(f"{said}." for said in problems))
    return weights


def fit_key(spec: Spec, own: DiffusionParameters, where: CompositeParameters, weights_digest: str) -> str:
    """What a fit is known by: the digest (SHA-256, hex) of everything it depends on."""
    body = {
        "labels": spec.labels,
        "concepts": [asdict(concept) for concept in spec.concepts],
        "mattes": dict(where.matte_choices),
        "weights": weights_digest,
        **{name: getattr(own, name) for name in _FIT_PARAMETERS},
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _taught(
    spec: Spec,
    pictures: Pictures,
    own: DiffusionParameters,
    where: dict[str, Any],
    weights: Path,
    digest: str,
    folder: Path,
    progress: Progress,
) -> tuple[Path, list[str]]:
    """The LoRA's file: found, or fitted now; while another worker fits it, waited for. With what to say about it."""
    placed = CompositeParameters.from_json(where)
    key = fit_key(spec, own, placed, digest)
    home = folder / "fits" / key
    said: list[str] = []
    with kept_in(home):
        home.mkdir(parents=True, exist_ok=True)
    with _alone(home, progress):
        if not (is_whole(home / LORA_FILE) and losses_of(home / LOSSES)):
            if (home / LORA_FILE).exists():
                said.append(f"The fit that was kept in {home} is damaged; the model was taught again.")
            seed = int(key[:15], 16)
            lessons = make_lessons(examples_of(spec, pictures, placed), pictures, own, seed)
            progress(_WEIGHTS, "loading the weights")
            drop_cached_pipeline()
            device = pipeline_loading.device_of(own.device)
            pipeline_loading.same_every_time()
            pipeline = pipeline_loading.load(weights, own, device, pipeline_loading.dtype_of(own.dtype, device))
            began = time.monotonic()
            teacher = Trainer(pipeline, lessons, own, home, seed)
            teacher.run(
                lambda done, what: progress(_WEIGHTS + (_TAUGHT - _WEIGHTS) * done, f"teaching the model: {what}")
            )
            about = {
                "spec": spec.digest,
                "seconds": round(time.monotonic() - began, 1),
                "lessons": teacher.lessons,
                "before": teacher.before,
                "after": teacher.after,
                "device": pipeline_loading.device_name(device),
                "torch": torch.__version__,
            }
            with kept_in(home):
                (home / _ABOUT).write_text(json.dumps(about))
            del pipeline, teacher
            free_memory()
    return home / LORA_FILE, said


@contextmanager
def _alone(home: Path, progress: Progress) -> Iterator[None]:
    """Hold the fit's folder; a worker that dies lets go of it."""
    lock = FileLock(home / "lock")
    while not _acquired(lock, home):
        progress(_WEIGHTS, "another worker is teaching the model")
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock, home: Path) -> bool:
    with kept_in(home):
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
        except Timeout:
            return False
    return True


def _about_the_fit(home: Path) -> tuple[str, str, str]:
    """What a fit did, as a finding, its numbers as a detail, and a warning where it did nothing good."""
    curve = f"Curve of its loss: diffusion/fits/{home.name}/{CURVE} in the data folder."
    taught = f"A LoRA was fitted in {counted(len(losses_of(home / LOSSES)), 'step')}"
    judged = judgement_of(home / _ABOUT)
    if judged is None:
        return f"{taught}.", curve, ""
    before, after = judged
    detail = f"The loss on the concept, at the same noise, went from {before:.3f} to {after:.3f}. {curve}"
    if after < before:
        return f"{taught}; the model fits the concept better than before.", detail, ""
    warning = "the model learned nothing of the concept; lower “diffusion.learning_rate”, or fit longer."
    return f"{taught}.", detail, warning
