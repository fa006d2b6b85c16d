"""Studies for the benches that run a whole installation."""

from __future__ import annotations

from benches.chaos_installation import Installation
from datagen.domain.inputs import ProjectKind
from datagen.entrypoints import bootstrap
from datagen.settings import Settings
from datagen.workflow.services import Services
from datagen.workflow.studies.open import open_study
from stage.annotator import KINDS, Annotator
from stage.pack import Pack


def study_with_inputs(installation: Installation, services: Services, pack: Pack, name: str) -> dict[ProjectKind, int]:
    """Create a study and import a pack's pictures and regions; return the ids of its projects."""
    settings = Settings(_env_file=None)
    created = open_study(
        services,
        name,
        pack.labels,
        bootstrap.server_access_of(settings),
        engine=settings.engine,
        preview_size=settings.preview_size,
    )
    server = installation.label_studio
    with Annotator(server.url, server.token, name) as annotator:
        for role in KINDS:
            annotator.bring(role, pack, lambda _done, _of, _what: None)
    return {ProjectKind(kind): project for kind, project in created.projects.items()}
