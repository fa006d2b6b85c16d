"""The facts of a study's dataset card, counted from its rows."""

from __future__ import annotations

import hashlib
import shlex
import zipfile
import zlib
from collections import Counter
from pathlib import Path

from sqlalchemy import func, select

from datagen.domain.spec import Spec
from datagen.domain.verdict import Opinion
from datagen.errors import InputProblem, NotReady
from datagen.export.card import NO_LICENCE, CardFacts
from datagen.export.export_facts import NAME, ExportFacts
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.rejection import Rejections
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Services, find_study
from datagen.workflow.studies.descriptions import describe_run
from datagen.workflow.studies.export import samples_of_runs, unfinished_runs


def card_facts(
    services: Services, name: str, licence: str = NO_LICENCE, export: ExportFacts | None = None
) -> CardFacts:
    """Count what the runs of a study hold, what they were made from, and how their versions were reviewed.

    Raises:
        Refused: there is no such study.
        NotReady: no image is generated yet.
    """
    with services.database.read() as session:
        study_id = find_study(session, name).id
    limits = [f"{line}." for line in unfinished_runs(services, study_id)]
    with services.database.read() as session:
        study = find_study(session, study_id)
        of_study = BatchRow.study_id == study.id
        runs = session.scalars(
            select(BatchRow).where(of_study, BatchRow.kind == BatchKind.RUN).order_by(BatchRow.number)
        ).all()
        described = [describe_run(run) for run in runs]
        limits += dict.fromkeys(warning for run in runs for warning in run.warnings)
        limits += filter(None, (Rejections.from_json(run.rejections).sentence for run in runs))
        specs = [Spec.from_json(run.spec.body) for run in runs]
        spec_ids = {run.spec_id for run in runs}
        of_previews = (of_study, BatchRow.kind == BatchKind.ROUND, BatchRow.spec_id.in_(spec_ids))
        previews = session.scalar(
            select(func.count())
            .select_from(SampleRow)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(*of_previews)
        )
        verdicts = session.execute(
            select(VerdictRow.opinion, VerdictRow.reasons, VerdictRow.reviewer)
            .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
            .join(BatchRow, BatchRow.id == SampleRow.batch_id)
            .where(*of_previews, verdict_sync.effective_verdicts())
        ).all()
        run_ids = [run.id for run in runs]
    instances = dict.fromkeys(study.labels, 0)
    sizes: Counter[tuple[int, int]] = Counter()
    engines: Counter[str] = Counter()
    for sample in samples_of_runs(services.database, run_ids):
        sizes[sample.image.width, sample.image.height] += 1
        engines[f"{sample.provenance.engine} {sample.provenance.engine_version}"] += 1
        for instance in sample.instances:
            instances[instance.label] += 1
    if not sizes:
        raise NotReady(f"nothing of {name!r} is generated yet; see: datagen status {shlex.quote(name)}")
    opinions = Counter(opinion for opinion, _, _ in verdicts)
    return CardFacts(
        study=study.name,
        licence=licence,
        instances=instances,
        images=sizes.total(),
        sizes=dict(sizes.most_common()),
        runs=described,
        engines=dict(engines.most_common()),
        inputs={
            "concept": len({concept.image.digest for spec in specs for concept in spec.concepts}),
            "canvas": len({canvas.image.digest for spec in specs for canvas in spec.canvases}),
            "background": len({background.digest for spec in specs for background in spec.backgrounds}),
        },
        good=opinions[Opinion.GOOD],
        bad=opinions[Opinion.BAD],
        reviewers=len({reviewer for _, _, reviewer in verdicts}),
        previews=previews or 0,
        reasons=dict(Counter(reason for _, reasons, _ in verdicts for reason in reasons).most_common()),
        limits=limits,
        export=export,
    )


def facts_of_export(export: Path) -> ExportFacts | None:
    """Return the options of an export, a zip or a folder; None if it has everything as it is stored.

    Raises:
        InputProblem: it cannot be read, or is damaged.
    """
    try:
        if export.is_dir():
            data = (export / NAME).read_bytes() if (export / NAME).is_file() else None
        else:
            with zipfile.ZipFile(export) as archive:
                data = archive.read(NAME) if NAME in archive.namelist() else None
    except (OSError, zipfile.BadZipFile, zlib.error) as refusal:
        raise InputProblem(f"{export} cannot be read: {refusal}; name what datagen export wrote") from refusal
    return ExportFacts.from_json(data, f"{NAME} of {export}") if data is not None else None


def checksum_of(export: Path) -> str:
    """Return the SHA-256 (hex) of an export's zip, or of the manifest in its folder.

    Raises:
        InputProblem: there is no such file.
    """
    path = export / "manifest.jsonl" if export.is_dir() else export
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as refusal:
        raise InputProblem(f"{path} cannot be read: {refusal}; name what datagen export wrote") from refusal
