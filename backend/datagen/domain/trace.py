"""The trace of a sample: how each of its instances was made, and from which files.

A trace is stored as one JSON object, ``steps``, in the sample's provenance. A stored object of any earlier version can
be read, and is written back unchanged. A stored value that does not have the type of its field is kept in ``details``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datagen.domain.spec import Json

#: Suffix of the keys that hold the digest of a file used for the sample.
_FILE_DIGEST_SUFFIX = "_sha256"
#: Name of a field of ``InstanceTrace`` that is stored under this name → the types of its value.
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


#: Number of digits of a photo's digest in the key of a concept.
PHOTO_DIGITS = 12
_CONCEPT_KEY = re.compile(f"([0-9a-f]{{{PHOTO_DIGITS}}}):[0-9]+")


def concept_key(photo_digest: str, region: int) -> str:
    """Return the key of a concept: the first digits of its photo's digest, a colon, and the index of the region."""
    return f"{photo_digest[:PHOTO_DIGITS]}:{region}"


#: What was drawn for an instance, by name: numbers in the units that the engine declares, and names of choices.
Draws = Mapping[str, float | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConceptChoice:
    """The concept that an instance was made from: its key, and its name as shown to users."""

    key: str
    name: str

    @property
    def photo_digits(self) -> str | None:
        """The first digits of the digest of the concept's photo; None if the engine has keys of another form."""
        match = _CONCEPT_KEY.fullmatch(self.key)
        return match[1] if match is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTrace:
    """Choices and measurements of one synthesized instance. A field is None if the engine did not record it."""

    label: str | None = None
    concept: ConceptChoice | None = None
    #: the names of two methods: for cutting out the concept, and for merging it into the background
    matte: str | None = None
    blend: str | None = None
    #: the pose: rotation in degrees, factor of the size, factor of the proportions, whether it is mirrored
    degrees: float | None = None
    scale: float | None = None
    stretch: float | None = None
    mirrored: bool | None = None
    #: contrast-to-noise ratio in the mask
    contrast: float | None = None
    #: difference between the instance's surroundings and those of the concept in its photo
    mismatch: float | None = None
    #: number of placement attempts
    tries: int | None = None
    #: what was drawn for the instance, by the names that the engine declares as learnable
    draws: Draws | None = None
    #: values for which this class has no field, such as decisions that only this engine makes
    details: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the object to store; fields that are None are left out."""
        body: dict[str, Json] = {name: value for name in _PLAIN_FIELDS if (value := getattr(self, name)) is not None}
        if self.concept is not None:
            body |= {"concept": self.concept.key, "concept_name": self.concept.name}
        if self.draws is not None:
            body["draws"] = dict(self.draws)
        return {**body, **self.details}

    @staticmethod
    def from_json(body: Mapping[str, Json]) -> InstanceTrace:
        """Build the trace from a stored object."""
        details = dict(body)
        values: dict[str, Any] = {
            name: details.pop(name) for name, types in _PLAIN_FIELDS.items() if _is(details.get(name), types)
        }
        key, name = body.get("concept"), body.get("concept_name")
        if isinstance(key, str) and isinstance(name, str):
            values["concept"] = ConceptChoice(key=key, name=name)
            del details["concept"], details["concept_name"]
        draws = body.get("draws")
        if isinstance(draws, dict) and all(_is(value, (int, float, str)) for value in draws.values()):
            values["draws"] = details.pop("draws")
        return InstanceTrace(**values, details=details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Choices behind one sample that its spec does not determine."""

    #: one for each instance of the sample, in the same order
    instances: tuple[InstanceTrace, ...] = ()
    #: reason → number of placements rejected for this reason
    rejected: Mapping[str, int] | None = None
    #: name of a file → its digest (None: the file was not used). The pixels depend on these files and on the spec
    files: Mapping[str, str | None] = field(default_factory=dict)
    #: values for which this class has no field, such as decisions that only this engine makes
    details: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """Return the object to store."""
        body: dict[str, Json] = {}
        if self.instances:
            body["instances"] = [instance.to_json() for instance in self.instances]
        if self.rejected is not None:
            body["rejected"] = dict(self.rejected)
        digests = {f"{name}{_FILE_DIGEST_SUFFIX}": digest for name, digest in self.files.items()}
        return {**body, **digests, **self.details}

    @staticmethod
    def from_json(body: Mapping[str, Json]) -> Trace:
        """Build the trace from a stored object."""
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
    """Return whether a value has one of the types. A bool does not count as a number."""
    return isinstance(value, types) and (bool in types or not isinstance(value, bool))
