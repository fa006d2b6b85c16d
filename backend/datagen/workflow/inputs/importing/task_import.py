"""Items into a study's project: pictures that are new become tasks, drawings that are missing are added to theirs.

Idempotent on what was drawn: a task without annotation gets it, one with annotation gets the regions that it never
had. What was imported is noted in the task, so a region that somebody changed or deleted since does not come again.
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

#: Pictures in memory at a time.
BATCH = 50
#: Bytes in memory, of pictures and masks, after which no further picture is read for a batch.
BATCH_BYTES = 64 * 2**20
#: Bytes of an item of a list.
_ITEM_BYTES = 8
#: Two regions of one label that overlap more than this mean the same thing.
_SAME_THING = 0.5


@dataclass(kw_only=True)
class Outcome:
    """What became of the items."""

    new: int = 0
    known: int = 0
    #: tasks that were there and got drawings they lacked
    completed: int = 0
    #: regions submitted, with new tasks and with old ones
    regions: int = 0


@dataclass(kw_only=True)
class _Entry:
    """One picture of a batch, and what all items that name it draw on it."""

    picture: Loaded
    wheres: list[str]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TaskImport:
    """Where items go, and by which names."""

    services: Services
    project_id: int
    kind: ProjectKind
    names: LabelNames
    files: PictureFiles
    #: the items' addresses are Label Studio's own
    on_label_studio: bool = False

    def run(self, reading: Reading, tasks: StudyTasks) -> Outcome:
        """Import every item; what is not used is told in ``reading``."""
        outcome = Outcome()
        start = 0
        while start < len(reading.items):
            start += self._batch(reading.items[start : start + BATCH], reading, tasks, outcome)
        return outcome

    def _batch(self, items: Sequence[Item], reading: Reading, tasks: StudyTasks, outcome: Outcome) -> int:
        """Import the first of the items; how many they were."""
        entries, count = self._entries(items, reading)
        missing = {key: entry for key, entry in entries.items() if self._task(entry, tasks) is None}
        made = self._make(missing)
        for key, entry in entries.items():
            if (task_id := made.get(key)) is not None:
                imported = frozenset(entry.results)
                task = StudyTask(id=task_id, annotations=int(bool(imported)), imported=imported)
                tasks.add(task, entry.picture.digest, entry.picture.address)
                outcome.new += 1
                outcome.regions += len(entry.results)
                continue
            there = self._task(entry, tasks)
            assert there is not None
            added = self._complete(there, entry, reading)
            outcome.regions += added
            outcome.completed += bool(added)
            outcome.known += not added
        return count

    def _entries(self, items: Sequence[Item], reading: Reading) -> tuple[dict[str, _Entry], int]:
        """The pictures of a batch that can be used, by the key of their task, and how many items were read for them.

        The rest is left for the next batch once those before it hold so much memory.
        """
        entries: dict[str, _Entry] = {}
        role = self.kind.role
        assert role is not None
        held = count = 0
        for item in items:
            if held > BATCH_BYTES:
                break
            count += 1
            shown = f"{item.where} ({item.address})" if item.address else item.where
            try:
                picture = load(self.services, item, self.files, on_label_studio=self.on_label_studio)
            except InputProblem as problem:
                reading.tell(shown, str(problem))
                continue
            key = key_of(role, picture.digest)
            entry = entries.setdefault(key, _Entry(picture=picture, wheres=[]))
            entry.wheres.append(item.where)
            held += len(picture.data)
            if item.draw is None:
                continue
            drawn = item.draw(picture.width, picture.height)
            mapped = map_regions(drawn, self.kind, picture.width, picture.height, self.names)
            for sentence in mapped.problems:
                which, _, reason = sentence.partition(": ")
                reading.tell(f"{shown}, {which}", reason.removesuffix("."))
            if mapped.scaled:
                reading.count(
                    "regions drawn on a copy of their picture in another size, used in proportion: {n}",
                    mapped.scaled,
                )
            held += _ITEM_BYTES * sum(len(result["value"].get("rle", ())) for result in mapped.results)
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

    def _make(self, entries: dict[str, _Entry]) -> dict[str, int]:
        """Make a task of each picture, with its drawings in the same request; key → task id."""
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
        return task_publisher.ensure_tasks(self.services.label_studio, self.project_id, batch, drafts)

    def _complete(self, there: StudyTask, entry: _Entry, reading: Reading) -> int:
        """Give a task the regions that it never had; how many they were."""
        missing = [result for id_, result in entry.results.items() if id_ not in there.imported]
        if not there.annotations:
            missing = list(entry.results.values())
        if not missing:
            return 0
        client = self.services.label_studio
        task = client.task(there.id, self.project_id)
        if task.newest is None:
            client.annotate(there.id, missing)
        else:
            current = list(task.newest.result)
            missing = self._unlike(missing, current, entry.picture)
            if not missing or not self._extend(task.newest.id, [*current, *missing], entry, reading):
                return 0
            reading.notes.append(
                f"{entry.wheres[0]}: task {there.id} held other drawings already; regions added to them: {len(missing)}"
            )
        there.annotations += 1
        there.imported |= frozenset(entry.results)
        client.update_task_data(there.id, {**task.data, DRAWN: " ".join(sorted(there.imported))})
        return len(missing)

    def _unlike(
        self, results: Sequence[dict[str, Any]], current: Sequence[Any], picture: Loaded
    ) -> list[dict[str, Any]]:
        """The results that draw something which no region of the annotation draws."""
        known = {digest(result) for result in current}
        size = picture.width, picture.height
        boxes = boxes_of(current, self.kind, *size, self.names.labels)
        unlike = []
        for result in results:
            own = boxes_of([result], self.kind, *size, self.names.labels)
            same = any(
                label == other and overlap(box, frame) > _SAME_THING for label, box in own for other, frame in boxes
            )
            if digest(result) not in known and not same:
                unlike.append(result)
        return unlike

    def _extend(self, annotation_id: int, results: Sequence[Any], entry: _Entry, reading: Reading) -> bool:
        """Replace what an annotation says; False where Label Studio cannot take it."""
        try:
            json.dumps(results, allow_nan=False, ensure_ascii=False).encode()
            self.services.label_studio.update_annotation(annotation_id, results)
        except LabelStudioUnavailable:
            raise
        except (ValueError, LabelStudioError) as fault:
            reading.tell(entry.wheres[0], f"its drawings cannot be added to the task that is there ({fault})")
            return False
        return True
