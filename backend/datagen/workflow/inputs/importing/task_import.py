"""Import of items into a study's project. New pictures become tasks, and missing drawings are added to existing tasks.

The import is idempotent: a task without an annotation gets one, and a task with an annotation gets the regions that
were never imported into it. Imported regions are recorded in the task's data, so a region that was changed or deleted
later is not imported again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from datagen.domain.inputs import ProjectKind
from datagen.errors import InputProblem, LabelStudioError, LabelStudioUnavailable
from datagen.label_studio.mapping.region_mapping import LabelNames, boxes_of, digest, map_regions, overlap
from datagen.label_studio.projects import task_publisher
from datagen.label_studio.projects.task_publisher import TaskDraft
from datagen.workflow.inputs.importing.items import Item, Reading, examples
from datagen.workflow.inputs.importing.picture_files import PictureFiles
from datagen.workflow.inputs.importing.picture_loading import Loaded, load, upload_name
from datagen.workflow.inputs.importing.study_tasks import DRAWN, StudyTask, StudyTasks, key_of
from datagen.workflow.services import Services

#: Largest number of items in a batch.
BATCH = 50
#: Size of a batch's pictures and masks in memory, bytes. Above it, no further picture is read for the batch.
BATCH_BYTES = 64 * 2**20
#: Size of a list element in memory, bytes.
_ITEM_BYTES = 8
#: Two regions with the same label mark the same object if the intersection over union of their boxes is larger than
#: this.
_SAME_THING = 0.5


@dataclass(kw_only=True)
class Outcome:
    """Result of an import, as numbers of tasks and regions; see ``import_files.Added``."""

    new: int = 0
    known: int = 0
    #: number of known tasks whose given drawings were all refused
    refused: int = 0
    #: number of existing tasks to which missing drawings were added; ``known`` does not count them
    completed: int = 0
    #: number of regions that were submitted, in new and existing tasks
    regions: int = 0


@dataclass(kw_only=True)
class _Entry:
    """A picture of a batch, with the drawings of all items that name this picture."""

    picture: Loaded
    wheres: list[str]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: whether at least one of its drawings cannot be used
    has_problems: bool = False


@dataclass(frozen=True, kw_only=True)
class TaskImport:
    """Imports items into a project of a study."""

    services: Services
    project_id: int
    kind: ProjectKind
    names: LabelNames
    files: PictureFiles
    #: whether the items' addresses are Label Studio's own
    on_label_studio: bool = False
    #: whether pictures are taken from files alone, and none from Label Studio
    only_files: bool = False

    def run(self, reading: Reading, tasks: StudyTasks) -> Outcome:
        """Import every item of ``reading`` and return the numbers. An item that cannot be used is reported there."""
        outcome = Outcome()
        start = 0
        while start < len(reading.items):
            start += self._batch(reading.items[start : start + BATCH], reading, tasks, outcome)
        return outcome

    def _batch(self, items: Sequence[Item], reading: Reading, tasks: StudyTasks, outcome: Outcome) -> int:
        """Import the first items, as many as fit into memory, and return their number."""
        entries, count = self._entries(items, reading)
        missing = {key: entry for key, entry in entries.items() if self._task(entry, tasks) is None}
        created = self._create(missing)
        for key, entry in entries.items():
            if (task_id := created.get(key)) is not None:
                imported = frozenset(entry.results)
                task = StudyTask(id=task_id, annotations=int(bool(imported)), imported=imported)
                tasks.add(task, entry.picture.digest, entry.picture.address)
                outcome.new += 1
                outcome.regions += len(entry.results)
                continue
            existing = self._task(entry, tasks)
            assert existing is not None
            added = self._complete(existing, entry, reading)
            outcome.regions += added
            outcome.completed += bool(added)
            outcome.known += not added
            outcome.refused += entry.has_problems and not entry.results
        return count

    def _entries(self, items: Sequence[Item], reading: Reading) -> tuple[dict[str, _Entry], int]:
        """Return the usable pictures of a batch by the key of their task, and the number of items that were read.

        Reading stops once the pictures and masks exceed ``BATCH_BYTES``; the next batch continues.
        """
        entries: dict[str, _Entry] = {}
        role = self.kind.role
        assert role is not None
        used_bytes = count = 0
        for item in items:
            if used_bytes > BATCH_BYTES:
                break
            count += 1
            item_name = f"{item.where} ({item.address})" if item.address else item.where
            try:
                picture = load(
                    self.services,
                    item,
                    self.files,
                    on_label_studio=self.on_label_studio,
                    only_files=self.only_files,
                )
            except InputProblem as problem:
                reading.report(item_name, str(problem))
                continue
            key = key_of(role, picture.digest)
            entry = entries.setdefault(key, _Entry(picture=picture, wheres=[]))
            entry.wheres.append(item.where)
            used_bytes += len(picture.data)
            if item.draw is None:
                continue
            regions = item.draw(picture.width, picture.height)
            mapped = map_regions(regions, self.kind, picture.width, picture.height, self.names)
            entry.has_problems = entry.has_problems or bool(mapped.problems)
            for sentence in mapped.problems:
                which, _, reason = sentence.partition(": ")
                reading.report(f"{item_name}, {which}", reason.removesuffix("."))
            if mapped.scaled:
                reading.count(
                    "regions drawn on a copy of their picture in another size, used in proportion: {n}",
                    mapped.scaled,
                )
            used_bytes += _ITEM_BYTES * sum(len(result["value"].get("rle", ())) for result in mapped.results)
            entry.results |= {
                str(result["id"]): result for result in mapped.results if result["id"] not in entry.results
            }
        for entry in entries.values():
            if len(entry.wheres) > 1:
                reading.notes.append(
                    f"{examples(entry.wheres)} name the same picture: what is drawn on it is together in one task"
                )
        return entries, count

    def _task(self, entry: _Entry, tasks: StudyTasks) -> StudyTask | None:
        return tasks.find(entry.picture.digest, entry.picture.address)

    def _create(self, entries: dict[str, _Entry]) -> dict[str, int]:
        """Create a task for each picture, and return task ids by key. One request sends the task with its drawings."""
        if not entries:
            return {}
        uploads = {key: entry.picture for key, entry in entries.items() if not entry.picture.address}
        files = [(upload_name(picture.name), picture.data) for picture in uploads.values()]
        urls = dict(zip(uploads, self.services.label_studio.upload(self.project_id, files), strict=True))
        drafts = [
            TaskDraft(
                key=key,
                data={
                    "image": urls.get(key) or entry.picture.address,
                    "name": entry.picture.name,
                    DRAWN: " ".join(entry.results),
                },
                annotations=[{"result": list(entry.results.values())}] if entry.results else (),
            )
            for key, entry in entries.items()
        ]
        batch = "added-" + hashlib.sha256("".join(entries).encode()).hexdigest()[:12]
        return task_publisher.ensure_tasks(
            self.services.label_studio, self.project_id, batch, drafts, importing=self.services.import_turn
        )

    def _complete(self, task: StudyTask, entry: _Entry, reading: Reading) -> int:
        """Add the regions of an entry that were never imported into the task, and return their number."""
        missing = [result for id_, result in entry.results.items() if id_ not in task.imported]
        if not task.annotations:
            missing = list(entry.results.values())
        if not missing:
            return 0
        client = self.services.label_studio
        current_task = client.task(task.id, self.project_id)
        if current_task.newest is None:
            client.annotate(task.id, missing)
        else:
            current_results = list(current_task.newest.result)
            missing = self._additional(missing, current_results, entry.picture)
            if not missing or not self._extend(current_task.newest.id, [*current_results, *missing], entry, reading):
                return 0
            reading.notes.append(
                f"{entry.wheres[0]}: task {task.id} held other drawings already; regions added to them: {len(missing)}"
            )
        task.annotations += 1
        task.imported |= frozenset(entry.results)
        client.update_task_data(task.id, {**current_task.data, DRAWN: " ".join(sorted(task.imported))})
        return len(missing)

    def _additional(
        self, results: Sequence[dict[str, Any]], current: Sequence[Any], picture: Loaded
    ) -> list[dict[str, Any]]:
        """Return those of ``results`` that mark an object which no region in ``current`` marks.

        ``current`` is the result of the task's annotation.
        """
        known_digests = {digest(result) for result in current}
        size = picture.width, picture.height
        current_boxes = boxes_of(current, self.kind, *size, self.names.labels)
        additional = []
        for result in results:
            own_boxes = boxes_of([result], self.kind, *size, self.names.labels)
            is_known = any(
                label == other_label and overlap(box, other_box) > _SAME_THING
                for label, box in own_boxes
                for other_label, other_box in current_boxes
            )
            if digest(result) not in known_digests and not is_known:
                additional.append(result)
        return additional

    def _extend(self, annotation_id: int, results: Sequence[Any], entry: _Entry, reading: Reading) -> bool:
        """Replace the result of an annotation and return True; return False if Label Studio does not accept it."""
        try:
            json.dumps(results, allow_nan=False, ensure_ascii=False).encode()
            self.services.label_studio.update_annotation(annotation_id, results)
        except LabelStudioUnavailable:
            raise
        except (ValueError, LabelStudioError) as fault:
            reading.report(entry.wheres[0], f"its drawings cannot be added to the task that is there ({fault})")
            return False
        return True
