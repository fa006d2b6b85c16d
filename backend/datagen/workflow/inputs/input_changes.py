"""Describes the difference between a study's inputs and the inputs frozen in one of its versions, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from datagen.domain.inputs import CanvasImage, ConceptImage, ImageRef, Inputs, Role
from datagen.domain.spec import Spec
from datagen.domain.wording import counted


def changes(version: Spec, inputs: Inputs) -> list[str]:
    """Return what changed since the version was built, such as "2 concept images added"; empty if nothing did.

    An image is unchanged if its bytes and the drawings on it are equal. The name of its file does not matter.
    """
    before, after = _contents(version.concepts, version.canvases, version.backgrounds), _contents(*_drawn(inputs))
    return [line for role in Role for line in _changes(role, before[role], after[role])]


def _drawn(inputs: Inputs) -> tuple[Sequence[ConceptImage], Sequence[CanvasImage], Sequence[ImageRef]]:
    return inputs.concepts, inputs.canvases, inputs.backgrounds


def _contents(
    concepts: Sequence[ConceptImage], canvases: Sequence[CanvasImage], backgrounds: Sequence[ImageRef]
) -> dict[Role, Counter[tuple[str, object]]]:
    """Return the images of each role as pairs of a digest and the drawings on the image."""
    return {
        Role.CONCEPT: Counter((concept.image.digest, concept.regions) for concept in concepts),
        Role.CANVAS: Counter((canvas.image.digest, canvas.areas) for canvas in canvases),
        Role.BACKGROUND: Counter((background.digest, None) for background in backgrounds),
    }


def _changes(role: Role, before: Counter[tuple[str, object]], after: Counter[tuple[str, object]]) -> list[str]:
    added = Counter(digest for digest, _ in (after - before).elements())
    removed = Counter(digest for digest, _ in (before - after).elements())
    drawn_anew = added & removed
    numbers = (
        ((added - drawn_anew).total(), "added"),
        (drawn_anew.total(), "drawn anew"),
        ((removed - drawn_anew).total(), "no longer used"),
    )
    return [f"{counted(number, f'{role} image')} {change}" for number, change in numbers if number]
