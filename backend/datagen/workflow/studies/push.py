"""Push of a study's generated images into a Label Studio project that is not the study's own.

There are two ways. Either the tasks are created in the project, by the publisher, which creates none twice. Or they are
written to JSONL files in a folder that Label Studio syncs as a storage. It reads a file once, so that a file is written
only of a run that is complete, and never changes.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.geometry import Polygon
from datagen.domain.outline_joining import joined
from datagen.domain.sample import Sample
from datagen.errors import InputProblem, NotReady
from datagen.export import holes, masks
from datagen.export.formats.label_studio import label_config
from datagen.label_studio.mapping import brush_encoding
from datagen.label_studio.mapping.predictions import box_region, polygon_region, region, regions_prediction
from datagen.label_studio.mapping.target_config import TargetControl, target_control
from datagen.label_studio.projects.task_publisher import TaskDraft, ensure_tasks
from datagen.store.object_folder import ObjectFolder
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.backoff import EXPORT_PATIENCE_SECONDS, patiently
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import Services, StudyKey, find_study
from datagen.workflow.studies.counting import Progress, no_progress
from datagen.workflow.studies.export import runs_of, unfinished_runs

#: Number of sample indices of a batch of tasks, or of a storage file. It bounds the memory, and must not change: a
#: repeated push looks for its tasks by batch.
CHUNK = 500
#: Name of the image's key in the data of tasks in a new project and in a storage file.
IMAGE = "image"


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """The options of a push."""

    #: the numbers of the runs; all if there are none
    runs: tuple[int, ...] = ()
    #: whether the labels become annotations, which Label Studio exports, in place of predictions
    annotations: bool = False
    #: the address of an export of the same samples, from which Label Studio takes the images; "" for signed links
    images_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The result of a push."""

    samples: int
    #: samples that were not in the project, or files that were not in the folder
    new: int
    #: the project's id; None for storage files
    project_id: int | None = None


DEFAULT_PUSH = PushOptions()


def create_target(services: Services, key: StudyKey, title: str) -> int:
    """Create a project with a study's labels as polygons; return its id.

    Raises:
        Refused: there is no such study.
        InputProblem: there is a project of this title.
    """
    with services.database.read() as session:
        study = find_study(session, key)
    for project in services.label_studio.find_projects(title):
        if project.title == title:
            raise InputProblem(
                f"there is a project {title!r} already; push into it with --project {project.id}, "
                "or choose another name"
            )
    config = label_config("PolygonLabels", tuple(study.labels)).decode()
    description = f"Images that Datagen synthesized for the study “{study.name}”."
    return services.label_studio.create_project(title, {"label_config": config, "description": description}).id


def push_to_project(
    services: Services,
    key: StudyKey,
    project_id: int,
    options: PushOptions = DEFAULT_PUSH,
    progress: Progress = no_progress,
) -> Pushed:
    """Ensure that each sample exists as one task of a project.

    The tasks that an earlier push created are not changed, even if people changed them.

    Raises:
        InputProblem: the project is one of a study, or its label config lacks a label.
        NotReady: there is no such run, or no image is generated yet.
        LabelStudioError: the tasks so far are kept; another push completes them.
    """
    with services.database.read() as session:
        study = find_study(session, key)
        check_foreign(session, project_id)
    config = str(services.label_studio.project(project_id).options.get("label_config") or "")
    control = target_control(config, study.labels, f"project {project_id}")
    new = done = 0
    for batch, rows, total in _chunks(services, study, options):
        drafts = [
            TaskDraft(key=key, data=data, **_labels(regions, options))
            for key, data, regions in (_task(services, study.name, batch, row, control, options) for row in rows)
        ]
        label = f"push-{batch.spec.digest[:12]}-run{batch.number}-{rows[0].index // CHUNK * CHUNK}"
        before = services.label_studio.counts([project_id])[project_id].tasks
        ensure_tasks(services.label_studio, project_id, label, drafts, importing=services.import_turn)
        new += services.label_studio.counts([project_id])[project_id].tasks - before
        done += len(rows)
        progress(done, total)
    return Pushed(samples=done, new=new, project_id=project_id)


def push_to_storage(
    services: Services,
    key: StudyKey,
    folder_url: str,
    options: PushOptions = DEFAULT_PUSH,
    progress: Progress = no_progress,
) -> Pushed:
    """Write the tasks as JSONL files of ``CHUNK`` samples to a folder that Label Studio syncs.

    An equal file is not written again.

    Raises:
        NotReady: there is no such run, or it is not complete.
        StoreError: the folder cannot be written.
    """
    with services.database.read() as session:
        study = find_study(session, key)
    if unfinished := unfinished_runs(services, study.id, options.runs):
        raise NotReady(
            f"{unfinished[0]}; Label Studio reads a storage file once: wait until the run is complete, "
            "or name a complete one with --run"
        )
    folder = ObjectFolder(folder_url, setting="--storage", patience_s=EXPORT_PATIENCE_SECONDS)
    control = TargetControl(tag="PolygonLabels", name="label", image="image", data_key=IMAGE)
    new = done = 0
    for batch, rows, total in _chunks(services, study, options):
        lines = []
        for row in rows:
            key, data, regions = _task(services, study.name, batch, row, control, options)
            body = {"data": {**data, "datagen_key": key}, **_labels(regions, options)}
            lines.append(json.dumps(body, ensure_ascii=False) + "\n")
        path = f"{batch.spec.digest[:12]}-run{batch.number}-{rows[0].index // CHUNK * CHUNK:07d}.jsonl"
        content = "".join(lines).encode()
        if not folder.holds(path, content):
            if folder.read(path) is not None:
                raise InputProblem(
                    f"{folder}/{path} holds these samples with other options, and Label Studio reads a file once; "
                    "name another folder, or delete the file and its tasks"
                )
            folder.write(path, content)
            new += 1
        done += len(rows)
        progress(done, total)
    return Pushed(samples=done, new=new)


def check_foreign(session: Session, project_id: int) -> None:
    """Check that a project belongs to no study.

    Raises:
        InputProblem: it does.
    """
    owner = session.scalar(
        select(StudyRow.name)
        .join(ProjectRow, ProjectRow.study_id == StudyRow.id)
        .where(ProjectRow.project_id == project_id)
    )
    if owner is not None:
        raise InputProblem(f"project {project_id} belongs to the study {owner!r}; name a project of your own")


def _chunks(
    services: Services, study: StudyRow, options: PushOptions
) -> Iterator[tuple[BatchRow, Sequence[SampleRow], int]]:
    """Yield the rows of all samples, as many at a time as have the same ``index // CHUNK``, and the number of all."""
    with services.database.read() as session:
        run_ids = [run.id for run in runs_of(session, study, options.runs, rejected=False)]
        total = session.scalar(select(func.count()).where(SampleRow.batch_id.in_(run_ids))) or 0
    if not total:
        name = study.name
        raise NotReady(f"nothing of the runs of {name!r} is generated yet; see: datagen status {shlex.quote(name)}")
    for run_id in run_ids:
        last_index = -1
        while True:
            with services.database.read() as session:
                batch = session.get_one(BatchRow, run_id)
                batch.spec  # noqa: B018 - it is loaded here, while there is a session
                rows = session.scalars(
                    select(SampleRow)
                    .where(SampleRow.batch_id == run_id, SampleRow.index > last_index)
                    .order_by(SampleRow.index)
                    .limit(CHUNK)
                ).all()
            if not rows:
                break
            rows = [row for row in rows if row.index // CHUNK == rows[0].index // CHUNK]
            yield batch, rows, total
            last_index = rows[-1].index


def _task(
    services: Services, study: str, batch: BatchRow, row: SampleRow, control: TargetControl, options: PushOptions
) -> tuple[str, dict[str, str], list[dict[str, Any]]]:
    """Return the key, the data and the regions of a sample's task."""
    sample = sample_of(row)
    file = f"{sample.provenance.file_stem}.png"
    image = f"{options.images_at.rstrip('/')}/images/{quote(file)}"
    data = {
        control.data_key: image if options.images_at else services.links.make(sample.image.digest),
        "file": file,
        "study": study,
        "run": str(batch.number),
        "index": str(row.index),
    }
    return row.key, data, _regions(sample, control, patiently(services.images.get))


def _labels(regions: list[dict[str, Any]], options: PushOptions) -> Mapping[str, Any]:
    if options.annotations:
        return {"annotations": [{"result": regions}]}
    return {"predictions": [regions_prediction(regions)]}


def _regions(sample: Sample, control: TargetControl, read: Callable[[str], bytes]) -> list[dict[str, Any]]:
    """Return one region for each instance, of the control's kind."""
    mask = masks.instance_mask(read(sample.mask.digest), sample.provenance.file_stem)
    rings = holes.of_instances(mask, len(sample.instances))
    width, height = sample.image.width, sample.image.height
    regions = []
    for i, instance in enumerate(sample.instances):
        if control.tag == "PolygonLabels":
            line = Polygon(joined((*instance.outlines, *rings[i])))
            drawn = polygon_region(f"i{i}", control.name, instance.label, line, width, height)
        elif control.tag == "RectangleLabels":
            drawn = box_region(f"i{i}", control.name, instance.label, instance.box, width, height)
        else:
            value = {"format": "rle", "rle": brush_encoding.encode(mask == i + 1), "brushlabels": [instance.label]}
            drawn = region(f"i{i}", control.name, "brushlabels", value, width, height)
        regions.append({**drawn, "to_name": control.image})
    return regions
