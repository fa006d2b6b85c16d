"""The labels of a sample as Label Studio shows them. Outlines have no holes, so the holes are taken from the mask."""

from __future__ import annotations

from typing import Any

from datagen.domain.inputs import ProjectKind
from datagen.domain.sample import Sample
from datagen.export import holes, masks
from datagen.label_studio.mapping.predictions import prediction
from datagen.store.blob_store import BlobStore


def labels_of(
    images: BlobStore, sample: Sample, project_kind: ProjectKind, lateness: float | None = None
) -> dict[str, Any]:
    """Return the labels of a sample as the prediction of its task.

    Only predictions for the Dataset project contain the holes; the mask is read from ``images`` for them.
    ``lateness`` is the score of the prediction: Label Studio's “Uncertainty sampling” begins with the lowest.

    Raises:
        StoreError: the mask is missing or damaged.
    """
    if project_kind is not ProjectKind.DATASET:
        return prediction(sample, project_kind, score=lateness)
    mask = masks.instance_mask(images.get(sample.mask.digest), sample.provenance.file_stem)
    return prediction(sample, project_kind, holes.of_instances(mask, len(sample.instances)))
