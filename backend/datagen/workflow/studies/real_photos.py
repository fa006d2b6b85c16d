"""The concept photos of an export's versions as real images, with the labels that people drew on them.

A photo is written as upright pixels without the metadata of its file, which may name a person or a place. It gets no
mark, because how a photo came about is not known; a source type that its own file declares is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.domain.sample import Instance, RealPhoto
from datagen.domain.spec import Spec
from datagen.domain.wording import counted
from datagen.errors import BadPicture, InputProblem, StoreMissing
from datagen.export.consistency_check import MAX_INSTANCES
from datagen.imaging.file_signatures import kind_of
from datagen.imaging.png_encoder import encode_mask, encode_png
from datagen.imaging.provenance_mark import declared_source, read_mark, source_packet
from datagen.store.blob_store import BlobStore
from datagen.synthesis.engine import Pictures
from datagen.synthesis.masks import outlines, rasterize, tight_box

#: Kinds of files whose XMP is read.
_WITH_XMP = ("PNG", "JPEG", "WebP")


def check_share(share: float) -> None:
    """Check a share of real photos.

    Raises:
        InputProblem: it is not between 0 and 1.
    """
    if not 0 <= share < 1:
        raise InputProblem(f"{share:g} is no share of real photos; give 0 to less than 1, for example 0.3")


def wanted_count(share: float, synthesized: int) -> int:
    """Return the number of photos that are this share of the set together with so many synthesized images."""
    return round(share * synthesized / (1 - share))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPhotos:
    """The photos that can be exported, in the order of their digests, and sentences about the others."""

    photos: tuple[RealPhoto, ...]
    problems: tuple[str, ...]


class RealPhotos:
    """Labels concept photos, and returns their files; nothing of them is kept in memory."""

    def __init__(self, images: BlobStore, pictures: Pictures) -> None:
        self._images, self._pictures = images, pictures
        #: digest of a written file → the concept photo, and whether it is the mask
        self._files: dict[str, tuple[ConceptImage, bool]] = {}

    def find(self, specs: Iterable[Spec], labels: Sequence[str], *, boxes_suffice: bool) -> FoundPhotos:
        """Return the usable concept photos of these specs; of a photo in several, the labels in the last are used.

        Args:
            specs: the specs, the oldest first.
            labels: the study's labels.
            boxes_suffice: whether a photo is usable on which people drew a box without an outline.
        """
        concepts = {concept.image.digest: concept for spec in specs for concept in spec.concepts}
        photos, problems = [], []
        for _, concept in sorted(concepts.items()):
            try:
                photos.append(self._labelled(concept, labels, boxes_suffice))
            except (InputProblem, StoreMissing) as problem:
                problems.append(f"the photo {concept.image.name} is left out: {problem}")
        return FoundPhotos(photos=tuple(photos), problems=tuple(problems))

    def read(self, digest: str) -> bytes | None:
        """Return a file of a photo that ``find`` returned; None if the digest is of another file."""
        known = self._files.get(digest)
        if known is None:
            return None
        concept, is_mask = known
        return encode_mask(mask_of(concept)) if is_mask else self._image(concept.image)

    def _labelled(self, concept: ConceptImage, labels: Sequence[str], boxes_suffice: bool) -> RealPhoto:
        boxes_only = tuple(i for i, region in enumerate(concept.regions) if not region.outline)
        if boxes_only and not boxes_suffice:
            raise InputProblem(
                f"{counted(len(boxes_only), 'object')} of it "
                f"{'has' if len(boxes_only) == 1 else 'have'} a box and no outline; draw outlines, or export boxes "
                "alone: --format coco, yolo or voc"
            )
        if unknown := sorted({region.label for region in concept.regions}.difference(labels)):
            raise InputProblem(f"the study has no label {', '.join(unknown)} any more; label it anew")
        if len(concept.regions) > MAX_INSTANCES:
            raise InputProblem(
                f"it has {counted(len(concept.regions), 'object')}, a mask holds {MAX_INSTANCES}; crop it"
            )
        mask = mask_of(concept)
        if covered := [i + 1 for i in range(len(concept.regions)) if not (mask == i + 1).any()]:
            raise InputProblem(f"object {covered[0]} has no pixel that no other covers; correct its outline")
        image, mask_png = self._image(concept.image), encode_mask(mask)
        files = [hashlib.sha256(data).hexdigest() for data in (image, mask_png)]
        self._files[files[0]], self._files[files[1]] = (concept, False), (concept, True)
        return RealPhoto(
            image=replace(concept.image, digest=files[0]),
            mask=replace(concept.image, digest=files[1]),
            instances=tuple(
                Instance(label=region.label, box=tight_box(mask == i + 1), outlines=outlines(mask == i + 1))
                for i, region in enumerate(concept.regions)
            ),
            photo=concept.image,
            boxes_only=boxes_only,
        )

    def _image(self, ref: ImageRef) -> bytes:
        """Return a photo as PNG.

        Raises:
            BadPicture: it does not decode, or Datagen synthesized it.
        """
        data = self._images.get(ref.digest)
        source = ""
        if kind_of(data) in _WITH_XMP:
            if read_mark(data) is not None:
                raise BadPicture("Datagen synthesized it, so it is no photo")
            source = declared_source(data)
        return encode_png(self._pictures.load(ref), xmp=source_packet(source) if source else b"")


def mask_of(concept: ConceptImage) -> npt.NDArray[np.uint8]:
    """Return the instance mask [h, w] of a concept photo. Where objects overlap, the smaller one is in front."""
    height, width = concept.image.height, concept.image.width
    mask = np.zeros((height, width), np.uint8)
    for i in sorted(range(len(concept.regions)), key=lambda i: (-_area(concept.regions[i]), i)):
        mask[_inside(concept.regions[i], (height, width))] = i + 1
    return mask


def _area(region: ConceptRegion) -> float:
    return sum(polygon.area for polygon in region.outline) or region.box.area


def _inside(region: ConceptRegion, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the pixels [h, w] of a region: of its outline, else of its box."""
    box = region.box
    corners = ((box.x, box.y), (box.right, box.y), (box.right, box.bottom), (box.x, box.bottom))
    lines = [polygon.points for polygon in region.outline] or [corners]
    return np.asarray(np.logical_or.reduce([rasterize(np.array(line), shape) for line in lines]))
