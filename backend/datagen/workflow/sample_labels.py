"""The labels of a sample as Label Studio shows them, with the holes that its mask has and its outlines do not."""

from __future__ import annotations

from typing import Any

from datagen.domain.inputs import ProjectKind
from datagen.domain.sample import Sample
from datagen.export import holes, masks
from datagen.label_studio.mapping.predictions import prediction
from datagen.store.blob_store import BlobStore


def labels_of(images: BlobStore, sample: Sample, project_kind: ProjectKind) -> dict[str, Any]:
    """Return the prediction of a sample's task in a project; for Dataset, the mask is read from ``images``.

    Raises:
        StoreError: the mask is missing or damaged.
    """
    if project_kind is not ProjectKind.DATASET:
        return prediction(sample, project_kind)
    mask = masks.instance_mask(images.get(sample.mask.digest), sample.provenance.file_stem)
    return prediction(sample, project_kind, holes.of_instances(mask, len(sample.instances)))
