"""A study that a person works on in a real browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.client import LabelStudio as Client
from datagen.label_studio.api.models import Task
from datagen.store.database import Database
from datagen.workflow.studies.queries import describe
from stage.servers import Servers

#: Number of samples in a round of these tests: enough to judge some as good and some as bad.
ROUND = 4


#: Seconds after which waiting for a condition fails.
PATIENCE_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study of a browser test, with access to its rows, its Label Studio projects and its servers."""

    name: str
    projects: dict[ProjectKind, int]
    servers: Servers
    client: Client
    database: Database

    def tasks(self, kind: ProjectKind) -> list[Task]:
        """The tasks of a project, oldest first."""
        return list(self.client.tasks(self.projects[kind]))

    def status(self) -> dict[str, Any]:
        """The output of `datagen status`, computed without starting a process."""
        return describe(self.database, self.name)[0]

    def wait(self, condition: Callable[[], bool], event: str) -> None:
        """Wait until ``condition()`` is true; ``event`` names it if it takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"{event} did not happen in {PATIENCE_S:g} s: {self.status()}"
            time.sleep(0.2)
