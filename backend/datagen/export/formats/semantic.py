"""Label masks as PNG: a pixel's value is its label (0 none, else the id of the COCO category)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from datagen.export.writer import ExportedSample, ExportWriter
from datagen.imaging.png_encoder import encode_mask


class SemanticWriter(ExportWriter):
    """Writes one label mask an image."""

    name = "semantic"
    sentence = "Semantic masks: one PNG an image, whose pixels are the number of the label, 0 outside."
    limits = "Which label, not which of two objects of one label; at most 255 labels."
    paths = (("semantic/", "label masks, PNG: 0 outside, else the label's number in the list below"),)
    opened_by = "any PNG reader; MMSegmentation"
    max_labels = 255

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        """Write the label mask of one image."""
        path = self.context.path(sample.image_path.replace("images/", "semantic/", 1).rpartition(".")[0] + ".png")
        numbers = np.zeros(256, np.uint8)
        for i, instance in enumerate(sample.sample.instances):
            numbers[i + 1] = self.context.labels.index(instance.label) + 1
        self.context.sink.write(path, encode_mask(numbers[sample.mask]), packed=True)
        return {"semantic": path}
