"""Studies that the benches of a whole installation work on."""

from __future__ import annotations

from benches.chaos_installation import Installation
from datagen.domain.inputs import Desk
from datagen.entrypoints import bootstrap
from datagen.settings import Settings
from datagen.workflow.services import Workshop
from datagen.workflow.studies.open import open_study
from stage.annotator import DESKS, Annotator
from stage.pack import Pack


def study_with_inputs(installation: Installation, workshop: Workshop, pack: Pack, name: str) -> dict[Desk, int]:
    """Open a study and bring the pack's pictures and drawings into it; the numbers of its projects."""
    settings = Settings(_env_file=None)
    made = open_study(
        workshop,
        name,
        pack.labels,
        bootstrap.connection_of(settings),
        engine=settings.engine,
        preview_size=settings.preview_size,
    )
    server = installation.label_studio
    with Annotator(server.url, server.token, name) as annotator:
        for role in DESKS:
            annotator.bring(role, pack, lambda _done, _of, _what: None)
    return {Desk(desk): project for desk, project in made.projects.items()}
