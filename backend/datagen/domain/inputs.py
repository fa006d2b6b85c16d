"""The inputs of a study: concept images with boxes, canvas images with polygons, and plain backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from datagen.domain.geometry import Box, Polygon

#: Minimum number of images of each role for a preview: leave-one-out estimates are meaningless with fewer.
MINIMUM_PER_ROLE = 6
#: Recommended number of backgrounds. With fewer, a preview can be built, but the dataset repeats itself.
RECOMMENDED_BACKGROUNDS = 50


class Role(StrEnum):
    """The purpose of an input image; the value is the word shown to users."""

    CONCEPT = "concept"  #: a photo of the concept, with a box round each example
    CANVAS = "canvas"  #: a photo with polygons round the areas where the concept may appear
    BACKGROUND = "background"  #: a photo without the concept, on which samples are synthesized


def recommended_images(role: Role) -> int:
    """Return the recommended number of images of a role."""
    return RECOMMENDED_BACKGROUNDS if role is Role.BACKGROUND else MINIMUM_PER_ROLE


class ProjectKind(StrEnum):
    """The Label Studio projects of a study; the value is the second half of the project's title."""

    CONCEPTS = "Concepts"  #: people draw boxes round the concept
    CANVASES = "Canvases"  #: people draw polygons round the areas where the concept may appear
    BACKGROUNDS = "Backgrounds"  #: people view the backgrounds, and may exclude some
    PREVIEWS = "Previews"  #: people judge previews good or bad
    DECISIONS = "Decisions"  #: people choose the next action
    DATASET = "Dataset"  #: contains the generated images

    @property
    def role(self) -> Role | None:
        """The role of the images in this project; None if Datagen creates the tasks of this project."""
        return _PROJECT_ROLES.get(self)


_PROJECT_ROLES = {
    ProjectKind.CONCEPTS: Role.CONCEPT,
    ProjectKind.CANVASES: Role.CANVAS,
    ProjectKind.BACKGROUNDS: Role.BACKGROUND,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """A picture in the image store that was decoded and validated.

    ``digest`` is the SHA-256 (hex) of the stored bytes; ``name`` is the name shown to users.
    """

    digest: str
    width: int
    height: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptRegion:
    """One example of the concept: its label, its box, and its outline if one was drawn."""

    label: str
    box: Box
    outline: tuple[Polygon, ...] = ()

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> ConceptRegion:
        """Build an example from the output of ``dataclasses.asdict``, after a JSON round trip."""
        outline = tuple(_polygon(polygon) for polygon in body["outline"])
        return ConceptRegion(label=body["label"], box=Box(**body["box"]), outline=outline)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasArea:
    """An area where a concept may appear. ``label`` is the label that may appear there; None: every label may."""

    polygon: Polygon
    label: str | None = None

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> CanvasArea:
        """Build an area from the output of ``dataclasses.asdict``, after a JSON round trip."""
        return CanvasArea(polygon=_polygon(body["polygon"]), label=body["label"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptImage:
    """A photo with at least one example."""

    image: ImageRef
    regions: tuple[ConceptRegion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasImage:
    """A photo with at least one area."""

    image: ImageRef
    areas: tuple[CanvasArea, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An input that cannot be used, and the reason. ``item`` is the name that the user gave to the input."""

    role: Role
    item: str
    reason: str

    def __str__(self) -> str:
        return f"{self.role} {self.item}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All usable inputs of a study, and the problems of the unusable ones."""

    concepts: tuple[ConceptImage, ...] = ()
    canvases: tuple[CanvasImage, ...] = ()
    backgrounds: tuple[ImageRef, ...] = ()
    problems: tuple[Problem, ...] = ()
    #: number of inputs whose picture or drawings have not been read yet
    unread: int = 0

    def count(self, role: Role) -> int:
        """Return the number of usable images of a role."""
        match role:
            case Role.CONCEPT:
                return len(self.concepts)
            case Role.CANVAS:
                return len(self.canvases)
            case Role.BACKGROUND:
                return len(self.backgrounds)

    def missing(self) -> tuple[str, ...]:
        """Return a sentence for each role with fewer images than the minimum; empty when a preview can be built."""
        return tuple(
            f"{MINIMUM_PER_ROLE - have} more {role} image{'s' if MINIMUM_PER_ROLE - have > 1 else ''} "
            f"{_WHAT_COUNTS[role]} (there {'is' if have == 1 else 'are'} {have}, at least {MINIMUM_PER_ROLE} needed)"
            for role in Role
            if (have := self.count(role)) < MINIMUM_PER_ROLE
        )

    def advice(self) -> tuple[str, ...]:
        """Return recommendations that would improve the result but are not required."""
        have = len(self.backgrounds)
        if MINIMUM_PER_ROLE <= have < RECOMMENDED_BACKGROUNDS:
            return (f"{have} backgrounds will do; {RECOMMENDED_BACKGROUNDS} are recommended, for variety.",)
        return ()


def _polygon(body: Mapping[str, Any]) -> Polygon:
    return Polygon(tuple((float(x), float(y)) for x, y in body["points"]))


_WHAT_COUNTS = {
    Role.CONCEPT: "with a box round the concept",
    Role.CANVAS: "with a polygon where it may appear",
    Role.BACKGROUND: "without the concept",
}
