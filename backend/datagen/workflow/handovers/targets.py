"""The projects of Label Studio that images may be pushed into: those that belong to no study."""

from __future__ import annotations

from datagen.label_studio.api.models import Project
from datagen.workflow.services import Services
from datagen.workflow.study_pages.access import known_projects

#: Largest number of projects that are offered, the newest first.
MAX_OFFERED = 500


def push_targets(services: Services) -> list[Project]:
    """Return the projects, the newest first.

    Raises:
        LabelStudioError: Label Studio does not answer, or refuses.
    """
    with services.database.read() as session:
        own = frozenset(known_projects(session))
    projects = [project for project in services.label_studio.find_projects("") if project.id not in own]
    return sorted(projects, key=lambda project: -project.id)[:MAX_OFFERED]
