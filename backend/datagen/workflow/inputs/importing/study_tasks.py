"""Existing tasks of a study's project, indexed by the digest and the address of their picture.

A picture is identified by its digest, the SHA-256 of its file. The key of an imported task contains the digest. Other
tasks were uploaded by hand or copied from another project. Their digest is taken from the input rows, or the picture is
fetched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy import select

from datagen.domain.inputs import Role
from datagen.errors import DatagenError, LabelStudioUnavailable
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.task_inputs import image_of
from datagen.store.tables.inputs import InputRow
from datagen.workflow.services import Services

#: Number of digits of a picture's digest that the key of its task contains.
KEY_DIGITS = 20
#: Key in a task's data. Its value holds the digests of the regions that were imported into the task.
DRAWN = "datagen_drawn"
_FETCHERS = 4


@dataclass(kw_only=True)
class StudyTask:
    """A task of the study's project."""

    id: int
    #: number of annotations as counted by Label Studio, including skips
    annotations: int
    #: digests of the regions imported so far
    imported: frozenset[str] = frozenset()


@dataclass(kw_only=True)
class StudyTasks:
    """Index of a project's tasks by picture."""

    _by_digest: dict[str, StudyTask] = field(default_factory=dict)
    _by_address: dict[str, StudyTask] = field(default_factory=dict)

    def find(self, digest: str, address: str = "") -> StudyTask | None:
        """Return the task of a picture, by the SHA-256 of its bytes or by its address on Label Studio."""
        return self._by_digest.get(digest[:KEY_DIGITS]) or (self._by_address.get(address) if address else None)

    def add(self, task: StudyTask, digest: str = "", address: str = "") -> None:
        """Add a task. Of two tasks with the same picture, the index keeps the one with annotations, else the first."""
        for index, key in ((self._by_digest, digest[:KEY_DIGITS]), (self._by_address, address)):
            if key and (key not in index or (task.annotations and not index[key].annotations)):
                index[key] = task


def study_tasks(services: Services, project_id: int, study_id: int, role: Role) -> StudyTasks:
    """Return the current tasks of a study's project."""
    with services.database.read() as session:
        rows = session.scalars(select(InputRow).where(InputRow.study_id == study_id)).all()
        digests = {row.url: row.digest for row in rows if row.digest}
    existing = StudyTasks()
    without_digest: list[tuple[StudyTask, str]] = []
    for task in services.label_studio.tasks(project_id, annotations=False):
        address = image_of(task)
        recorded = task.data.get(DRAWN)
        imported = frozenset(recorded.split()) if isinstance(recorded, str) else frozenset()
        study_task = StudyTask(id=task.id, annotations=task.total_annotations, imported=imported)
        digest = _digest_in_key(task, role) or digests.get(address, "")
        existing.add(study_task, digest, address)
        if not digest and address:
            without_digest.append((study_task, address))
    for (study_task, address), digest in zip(
        without_digest, _fetch_digests(services, [address for _, address in without_digest]), strict=True
    ):
        existing.add(study_task, digest, address)
    return existing


def key_of(role: Role, digest: str) -> str:
    """Return the key of the task of an imported picture, from the picture's role and digest."""
    return f"{role}-{digest[:KEY_DIGITS]}"


def _digest_in_key(task: Task, role: Role) -> str:
    key = str(task.data.get("datagen_key", ""))
    rest = key.removeprefix(f"{role}-")
    is_digest = len(rest) == KEY_DIGITS and all(letter in "0123456789abcdef" for letter in rest)
    return rest if key != rest and is_digest else ""


def _fetch_digests(services: Services, addresses: Iterable[str]) -> list[str]:
    """Fetch pictures from Label Studio and return their digests, in order; "" for a picture that cannot be fetched."""

    def fetch(address: str) -> str:
        try:
            data = services.label_studio.fetch(address, max_bytes=services.limits.image_bytes)
        except LabelStudioUnavailable:
            raise
        except DatagenError:
            return ""  # a task without a readable picture matches no picture by its bytes
        return hashlib.sha256(data).hexdigest()

    with ThreadPoolExecutor(_FETCHERS) as pool:
        return list(pool.map(fetch, addresses))
