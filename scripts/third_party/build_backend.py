"""The build backend of the package: that of setuptools, which first fetches the third-party files of a wheel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import fetch
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Config = Mapping[str, Any] | None


def get_requires_for_build_wheel(config_settings: Config = None) -> list[str]:
    """Return setuptools' own requirements, and Node if the files have to be fetched on a machine without it."""
    required = build_meta.get_requires_for_build_wheel(config_settings)
    if all(file.is_there() for file in fetch.files(["pages"])) or fetch.can_run_npm():
        return required
    return [*required, fetch.node_requirement()]


def build_wheel(wheel_directory: str, config_settings: Config = None, metadata_directory: str | None = None) -> str:
    """Fetch the files, then build the wheel; return its file name."""
    fetch.ensure()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
