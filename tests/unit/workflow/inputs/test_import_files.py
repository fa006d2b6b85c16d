"""Paths that cannot be added are refused with their own reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.domain.inputs import Role
from datagen.errors import InputProblem
from datagen.workflow.inputs.import_files import add_files
from fake_studio import FakeStudio
from studio import Study


def test_path_that_does_not_exist_is_said_not_to_exist(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    """“/nonexistent is neither a folder nor a Label Studio JSON file, nor a zip of one” sent people to the format."""
    missing = tmp_path / "photos"
    with pytest.raises(InputProblem, match=f"^{missing} does not exist; give a folder of images, an export, or a zip"):
        add_files(studio.services, study.name, Role.CONCEPT, missing)
