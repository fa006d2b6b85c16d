"""What people give a study: concept images with boxes, canvas images with polygons, plain backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from datagen.domain.geometry import Box, Polygon

#: Fewer than this of any role and no preview is built: leave-one-out estimates have nothing to stand on.
MINIMUM_PER_ROLE = 6
#: Below this many backgrounds the set repeats itself; it is said, not refused.
RECOMMENDED_BACKGROUNDS = 50


class Role(StrEnum):
    """What an input image is for; the value is the word people read."""

    CONCEPT = "concept"  #: shows the thing, with boxes round it
    CANVAS = "canvas"  #: shows where it may appear, with polygons
    BACKGROUND = "background"  #: plain, without the thing


class ProjectKind(StrEnum):
    """The Label Studio projects of a study; the value is the second half of the project's title."""

    CONCEPTS = "Concepts"  #: boxes round the thing
    CANVASES = "Canvases"  #: polygons where it may appear
    BACKGROUNDS = "Backgrounds"  #: look, exclude
    PREVIEWS = "Previews"  #: good or bad
    DECISIONS = "Decisions"  #: what happens next
    DATASET = "Dataset"  #: the result

    @property
    def role(self) -> Role | None:
        """The role of the images on this desk; None where they are ours."""
        return _DESK_ROLES.get(self)


_DESK_ROLES = {
    ProjectKind.CONCEPTS: Role.CONCEPT,
    ProjectKind.CANVASES: Role.CANVAS,
    ProjectKind.BACKGROUNDS: Role.BACKGROUND,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRef:
    """A picture in the image store, decoded once and found fit.

    ``digest`` is the SHA-256 (hex) of the stored bytes; ``name`` is what people know it by.
    """

    digest: str
    width: int
    height: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptRegion:
    """One example of the thing: its label, the box round it, and its outline where somebody drew one."""

    label: str
    box: Box
    outline: tuple[Polygon, ...] = ()

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> ConceptRegion:
        """From the form that ``dataclasses.asdict`` gives, after a round trip by JSON."""
        outline = tuple(_polygon(one) for one in body["outline"])
        return ConceptRegion(label=body["label"], box=Box(**body["box"]), outline=outline)


@dataclass(frozen=True, slots=True, kw_only=True)
class CanvasArea:
    """A place where the thing may appear; ``label`` is None where every label of the study may."""

    polygon: Polygon
    label: str | None = None

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> CanvasArea:
        """From the form that ``dataclasses.asdict`` gives, after a round trip by JSON."""
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
    """An input that cannot be used, and why: ``item`` names it the way the person who gave it knows it."""

    role: Role
    item: str
    reason: str

    def __str__(self) -> str:
        return f"{self.role} {self.item}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything usable that a study was given, and what was not usable."""

    concepts: tuple[ConceptImage, ...] = ()
    canvases: tuple[CanvasImage, ...] = ()
    backgrounds: tuple[ImageRef, ...] = ()
    problems: tuple[Problem, ...] = ()
    #: input images that are not read yet: whether they can be used is not known
    unread: int = 0

    def count(self, role: Role) -> int:
        """How many usable images of a role there are."""
        match role:
            case Role.CONCEPT:
                return len(self.concepts)
            case Role.CANVAS:
                return len(self.canvases)
            case Role.BACKGROUND:
                return len(self.backgrounds)

    def missing(self) -> tuple[str, ...]:
        """A sentence for each role that has fewer than the minimum; empty when a preview can be built."""
        return tuple(
            f"{MINIMUM_PER_ROLE - have} more {role} image{'s' if MINIMUM_PER_ROLE - have > 1 else ''} "
            f"{_WHAT_COUNTS[role]} (there {'is' if have == 1 else 'are'} {have}, at least {MINIMUM_PER_ROLE} needed)"
            for role in Role
            if (have := self.count(role)) < MINIMUM_PER_ROLE
        )

    def advice(self) -> tuple[str, ...]:
        """What would make the result better though nothing forbids going on."""
        have = len(self.backgrounds)
        if MINIMUM_PER_ROLE <= have < RECOMMENDED_BACKGROUNDS:
            return (f"{have} backgrounds will do; {RECOMMENDED_BACKGROUNDS} are recommended, for variety.",)
        return ()


def _polygon(body: Mapping[str, Any]) -> Polygon:
    return Polygon(tuple((float(x), float(y)) for x, y in body["points"]))


_WHAT_COUNTS = {
    Role.CONCEPT: "with a box round the thing",
    Role.CANVAS: "with a polygon where it may appear",
    Role.BACKGROUND: "without the thing",
}
