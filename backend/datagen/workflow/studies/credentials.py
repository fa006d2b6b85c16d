"""The photos that a study's samples were made from, as the signed manifests of an export name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Sample
from datagen.export.content_credentials import ContentCredentials, Source
from datagen.workflow.backoff import patiently
from datagen.workflow.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerFiles:
    """The files of who signs: the chain of certificates, and the private key, both PEM."""

    certificate: Path
    key: Path


def credentials_of(services: Services, specs: Iterable[Mapping[str, Any]], files: SignerFiles) -> ContentCredentials:
    """Return the signer of the samples of some specs, as ``describe_specs`` returns them.

    Raises:
        InputProblem: see ``ContentCredentials``.
    """
    concepts = {
        spec["digest"]: [ImageRef(**concept["image"]) for concept in spec["spec"]["concepts"]] for spec in specs
    }

    def sources(sample: Sample) -> list[Source]:
        return sources_of(sample, concepts[sample.provenance.spec_digest])

    return ContentCredentials(files.certificate, files.key, sources=sources, read=patiently(services.images.get))


def sources_of(sample: Sample, concepts: Iterable[ImageRef]) -> list[Source]:
    """Return the background of a sample, and the photos of the concepts on it.

    An engine that does not record which concept an instance is from was given all of them, for example as the training
    images of a model.
    """
    known = {image.digest: image for image in concepts}
    # a concept's key begins with the first digits of its photo's digest
    prefixes = {
        instance.concept.key.partition(":")[0]
        for instance in sample.provenance.trace.instances
        if instance.concept is not None
    }
    used = [image for image in known.values() if prefixes and image.digest.startswith(tuple(prefixes))]
    background = Source(image=sample.provenance.background, is_component=True)
    if used:
        return [background, *(Source(image=image, is_component=True) for image in used)]
    return [background, *(Source(image=image, is_component=False) for image in known.values())]
