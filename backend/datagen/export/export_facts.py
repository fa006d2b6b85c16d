"""The options and the content of an export: ``export.json``, which the dataset card reads.

An export of everything as it is stored has no such file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from datagen.errors import InputProblem

#: The name of the file in an export.
NAME = "export.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """The counts of one export, and sentences about what was chosen and left out."""

    #: the number of images or tiles, with the photos
    images: int
    #: the number of real photos among them
    photos: int
    #: label → the number of its instances
    instances: Mapping[str, int]
    choices: Sequence[str]
    notes: Sequence[str]

    def to_json(self) -> str:
        """Return the content of the file."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1) + "\n"

    @staticmethod
    def from_json(data: bytes, called: str) -> ExportFacts:
        """Read the content of the file; ``called`` names it.

        Raises:
            InputProblem: it is damaged.
        """
        try:
            return TypeAdapter(ExportFacts).validate_json(data, strict=True)
        except ValidationError as damage:
            raise InputProblem(f"{called} is damaged; export the study again") from damage


def choices(about: Mapping[str, Any]) -> list[str]:
    """Return sentences about what was chosen, from the description of an export; none if nothing was."""
    return list(_choices(about))


def _choices(about: Mapping[str, Any]) -> Iterator[str]:
    if selection := about.get("selection"):
        words = [f"runs {', '.join(map(str, value))}" if name == "run" else value for name, value in selection.items()]
        yield f"Selected images: {'; '.join(words)}."
    if balance := about.get("balance"):
        yield f"Images are left out so that objects are balanced by {', '.join(balance)}."
    if images := about.get("images"):
        yield f"The image files are {images}; the labels were certified again after the encoding."
    if tiles := about.get("tiles"):
        yield (
            f"The images are cut into tiles of {tiles['side']} pixels with an overlap of {tiles['overlap']}; "
            f"{tiles['empty_share']:.0%} of the tiles without an object are kept."
        )
    if real := about.get("real_photos"):
        yield f"Real photos were asked for as {real['share']:.0%} of the images; they have the labels that people drew."
