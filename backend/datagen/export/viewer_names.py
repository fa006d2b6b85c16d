"""The names of the programs of ``viewers``. This module imports nothing, because the command line does."""

from __future__ import annotations

from enum import StrEnum


class ViewerName(StrEnum):
    """A program that people look at datasets with; the value is its name on the command line."""

    FIFTYONE = "fiftyone"
    LIGHTLY = "lightly"
    ATLAS = "atlas"
