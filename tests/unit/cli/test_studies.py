"""Commands about a study."""

from __future__ import annotations

import pytest

from datagen.cli import studies
from datagen.domain.inputs import ProjectKind
from datagen.workflow.studies.open import OpenedStudy


def test_provisioning_ends_with_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    projects = {kind: number for number, kind in enumerate(ProjectKind, 1)}
    opened = OpenedStudy(engine="composite", engine_before=None, projects=projects)
    studies._show_opened("plates", opened, "http://ls.test")
    last = " ".join(capsys.readouterr().out.split()).partition("Next: ")[2]
    assert "Concepts, Canvases and Backgrounds" in last
    assert last.endswith("http://ls.test/projects/5/data")
