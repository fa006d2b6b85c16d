"""The trace of a sample: how each of its instances was made, and from which files.

Stored as one JSON object, ``steps``, of the sample's provenance. Every object that was ever stored is read and written
back as it was: what does not have the type of a field is kept in ``details``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datagen.domain.spec import Json

#: Suffix of the keys that hold the digest of a file used for the sample.
_FILE_DIGEST_SUFFIX = "_sha256"
#: Fields of an instance's trace that are stored under their own name → their types.
_PLAIN_FIELDS: dict[str, tuple[type, ...]] = {
    "label": (str,),
    "matte": (str,),
    "blend": (str,),
    "degrees": (int, float),
    "scale": (int, float),
    "stretch": (int, float),
    "mirrored": (bool,),
    "contrast": (int, float),
    "mismatch": (int, float),
    "tries": (int,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptChoice:
    """The concept that an instance was made from: its key, and its name as shown to users."""

    key: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTrace:
    """Choices and measurements of one synthesized instance. A field is None if the engine did not decide about it."""

    label: str | None = None
    concept: ConceptChoice | None = None
    #: the method by which the concept was cut out, and the one by which it was merged into the background
    matte: str | None = None
    blend: str | None = None
    #: the pose: rotation, factor of the size, factor of the proportions, reflection
    degrees: float | None = None
    scale: float | None = None
    stretch: float | None = None
    mirrored: bool | None = None
    #: contrast-to-noise ratio in the mask
    contrast: float | None = None
    #: difference between the surroundings and those in the concept's photo
    mismatch: float | None = None
    #: placement attempts
    tries: int | None = None
    #: decisions of the engine's own
    details: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the stored object, without fields that are None."""
        body: dict[str, Json] = {name: value for name in _PLAIN_FIELDS if (value := getattr(self, name)) is not None}
        if self.concept is not None:
            body |= {"concept": self.concept.key, "concept_name": self.concept.name}
        return {**body, **self.details}

    @staticmethod
    def from_json(body: Mapping[str, Json]) -> InstanceTrace:
        """Read a stored object."""
        details = dict(body)
        values: dict[str, Any] = {
            name: details.pop(name) for name, types in _PLAIN_FIELDS.items() if _is(details.get(name), types)
        }
        key, name = body.get("concept"), body.get("concept_name")
        if isinstance(key, str) and isinstance(name, str):
            values["concept"] = ConceptChoice(key=key, name=name)
            del details["concept"], details["concept_name"]
        return InstanceTrace(**values, details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Choices behind one sample that its spec does not determine."""

    #: in the order of the sample's instances
    instances: tuple[InstanceTrace, ...] = ()
    #: reason → the number of placements that it rejected
    rejected: Mapping[str, int] | None = None
    #: the digests of the files that the engine used, by name, None for a file that was not used: the pixels depend on
    #: them besides the spec
    files: Mapping[str, str | None] = field(default_factory=dict)
    #: facts of the engine's own
    details: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the stored object."""
        body: dict[str, Json] = {}
        if self.instances:
            body["instances"] = [instance.to_json() for instance in self.instances]
        if self.rejected is not None:
            body["rejected"] = dict(self.rejected)
        digests = {f"{name}{_FILE_DIGEST_SUFFIX}": digest for name, digest in self.files.items()}
        return {**body, **digests, **self.details}

    @staticmethod
    def from_json(body: Mapping[str, Json]) -> Trace:
        """Read a stored object."""
        details = dict(body)
        values: dict[str, Any] = {}
        instances, rejected = body.get("instances"), body.get("rejected")
        if isinstance(instances, list) and instances and all(isinstance(instance, dict) for instance in instances):
            values["instances"] = tuple(map(InstanceTrace.from_json, details.pop("instances")))  # type: ignore[arg-type]
        if isinstance(rejected, dict) and all(_is(count, (int,)) for count in rejected.values()):
            values["rejected"] = details.pop("rejected")
        files = {
            name: digest
            for name, digest in body.items()
            if name.endswith(_FILE_DIGEST_SUFFIX) and (digest is None or isinstance(digest, str))
        }
        values["files"] = {name.removesuffix(_FILE_DIGEST_SUFFIX): details.pop(name) for name in files}
        return Trace(**values, details=details)


def _is(value: object, types: tuple[type, ...]) -> bool:
    """Return whether a value is of one of the types; a bool is no number."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))
