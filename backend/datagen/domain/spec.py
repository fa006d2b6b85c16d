"""A spec: the frozen, versioned definition of a study's samples, identified by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from datagen.domain.inputs import CanvasArea, CanvasImage, ConceptImage, ConceptRegion, ImageRef

#: Type of a parameter's value: JSON, so that a spec has one canonical form.
Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The inputs, the engine and its parameters.

    On machines of the same kind (same releases, same CPU features) the same spec and index give the same bytes.
    ``labels`` are the study's labels, in order. ``parameters`` are the engine's; the engine checks them. ``critic`` is
    what rejects samples of the version (``learning.critic``), None for nothing.
    """

    labels: tuple[str, ...]
    concepts: tuple[ConceptImage, ...]
    canvases: tuple[CanvasImage, ...]
    backgrounds: tuple[ImageRef, ...]
    engine: str
    parameters: Mapping[str, Json] = field(default_factory=dict)
    seed: int = 0
    critic: Mapping[str, Json] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the canonical form as JSON values, as read by ``Spec.from_json``. It is cached: do not modify it."""
        return self._body

    @cached_property
    def _body(self) -> dict[str, Any]:
        body = asdict(self) | {"parameters": dict(self.parameters)}
        if body["critic"] is None:  # specs of earlier releases keep their digest
            del body["critic"]
        return body

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Spec:
        """Build a spec from the output of ``to_json``, also after a JSON round trip."""
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
            critic=body.get("critic"),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the canonical form."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def sample_seed(digest: str, index: int) -> int:
    """Return a sample's seed: 64 bits from the spec's digest and the sample's index, the same on any machine."""
    return int.from_bytes(hashlib.sha256(f"{digest}:{index}".encode()).digest()[:8], "big")
