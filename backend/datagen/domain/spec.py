"""A spec: everything that decides what a sample looks like, frozen, versioned, and known by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion, ImageRef

#: What a parameter may hold: JSON, so that a spec has one canonical form.
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The inputs, the engine and its parameters. Same spec, same index: same bytes.

    ``labels`` are the study's, in order; ``parameters`` are the engine's own, checked by it.
    """

    labels: tuple[str, ...]
    concepts: tuple[ConceptImage, ...]
    canvases: tuple[CanvasImage, ...]
    backgrounds: tuple[ImageRef, ...]
    engine: str = "composite"
    parameters: Mapping[str, Json] = field(default_factory=dict)
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """The canonical form as JSON values; ``Spec.from_json`` reads it back. Not to be changed: it is made once."""
        return self._body

    @cached_property
    def _body(self) -> dict[str, Any]:
        return asdict(self) | {"parameters": dict(self.parameters)}

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Spec:
        """The spec that ``to_json`` wrote (JSON round trip included)."""
        return Spec(
            labels=tuple(body["labels"]),
            concepts=tuple(
                ConceptImage(
                    image=ImageRef(**c["image"]),
                    regions=tuple(ConceptRegion.from_json(r) for r in c["regions"]),
                )
                for c in body["concepts"]
            ),
            canvases=tuple(
                CanvasImage(
                    image=ImageRef(**c["image"]),
                    areas=tuple(CanvasArea.from_json(a) for a in c["areas"]),
                )
                for c in body["canvases"]
            ),
            backgrounds=tuple(ImageRef(**b) for b in body["backgrounds"]),
            engine=body["engine"],
            parameters=dict(body["parameters"]),
            seed=body["seed"],
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical form."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def sample_seed(digest: str, index: int) -> int:
    """The seed of one sample: 64 bits from the spec's digest and the sample's index, on any machine."""
    return int.from_bytes(hashlib.sha256(f"{digest}:{index}".encode()).digest()[:8], "big")
