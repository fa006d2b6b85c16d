"""The pieces of an image in an export: itself, or its tiles, in the chosen encoding and with certified labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cachetools import LRUCache

from datagen.domain.inputs import ImageRef
from datagen.domain.sample import RealPhoto, Sample
from datagen.domain.wording import by_number, counted
from datagen.errors import BadPicture, StoreError, StoreMissing
from datagen.export import consistency_check, manifest, masks
from datagen.export.image_encoding import (
    LOSSLESS,
    EncodedBackground,
    ImageEncoding,
    decode_own,
    disagreement,
    encoded_background,
)
from datagen.export.image_kinds import ImageKind
from datagen.export.splitting import Split
from datagen.export.tiling import Tiling, Window, cut
from datagen.export.writer import NO_SPLIT, ExportedSample, Mask
from datagen.imaging.codec import Pixels
from datagen.imaging.png_encoder import encode_mask, encode_png
from datagen.imaging.provenance_mark import read_packet

#: Returns the pixels of a background.
Backgrounds = Callable[[ImageRef], Pixels]
#: Bytes of encoded backgrounds that are kept for the images to come.
_CACHE_BYTES = 256 * 2**20
#: Largest number of images that a sentence names.
_MAX_NAMED = 5


@dataclass(kw_only=True)
class Pieces:
    """Checks, cuts and encodes images, and keeps the problems of the checks."""

    labels: tuple[str, ...]
    #: see ``archive.write_to``
    about: Mapping[str, Any]
    split: Split | None
    encoding: ImageEncoding = LOSSLESS
    tiling: Tiling | None = None
    #: needed for a lossy encoding
    backgrounds: Backgrounds | None = None
    #: number of images that stay PNG, and the first of them with the reasons
    kept_as_png: int = 0
    reasons: list[str] = field(default_factory=list)
    #: number of tiles without an instance that are left out
    empty_tiles_left_out: int = 0

    def __post_init__(self) -> None:
        self._encoded_backgrounds: LRUCache[tuple[str, Window | None], EncodedBackground] = LRUCache(
            _CACHE_BYTES, lambda each: min(each.pixels.nbytes + each.decoded.nbytes, _CACHE_BYTES)
        )

    def of(self, sample: Sample | RealPhoto, image: bytes, mask_png: bytes) -> Iterator[ExportedSample]:
        """Yield the pieces of an image with its stored files.

        Raises:
            StoreError: a file is damaged, a label disagrees with its mask, or a background is needed and missing.
        """
        name = sample.file_stem
        _check_object(image, sample.image, f"image of sample {name}")
        _check_object(mask_png, sample.mask, f"mask of sample {name}")
        mask = masks.instance_mask(mask_png, name)
        if self.tiling is None:
            whole = self._certified(sample, name, image, mask_png, mask)
            yield whole if self.encoding.is_lossless else self._encoded(whole, None, decode_own(image))
            return
        consistency_check.check(sample, name, mask, labels=self.labels)
        pixels, packet = decode_own(image), read_packet(image) or b""
        for window in self.tiling.windows(sample.image.width, sample.image.height):
            cut_labels = cut(mask, sample.instances, window)
            if not cut_labels.instances and not self.tiling.keeps_empty(name, window):
                self.empty_tiles_left_out += 1
                continue
            tile_image = encode_png(pixels[window.slices], xmp=packet)
            tile_mask = encode_mask(cut_labels.mask)
            tile = replace(
                sample,
                image=_ref(tile_image, window, sample.image.name),
                mask=_ref(tile_mask, window, sample.mask.name),
                instances=cut_labels.instances,
            )
            if isinstance(tile, RealPhoto):
                boxes_only = tuple(i for i, n in enumerate(cut_labels.numbers) if n in tile.boxes_only)
                tile = replace(tile, boxes_only=boxes_only)
            piece = self._certified(tile, f"{name}_{window}", tile_image, tile_mask, cut_labels.mask)
            place = {"x": window.x, "y": window.y, "of_width": sample.image.width, "of_height": sample.image.height}
            piece = replace(
                piece,
                whole=sample,
                details={"tile": place | {"instances": [number + 1 for number in cut_labels.numbers]}},
            )
            yield piece if self.encoding.is_lossless else self._encoded(piece, window, pixels[window.slices])

    def notes(self) -> list[str]:
        """Return sentences about images that stay PNG and tiles that were left out."""
        notes = []
        if self.kept_as_png:
            more = f"; and {self.kept_as_png - len(self.reasons)} more" if self.kept_as_png > len(self.reasons) else ""
            stay = by_number(self.kept_as_png, "stays", "stay")
            notes.append(
                f"{counted(self.kept_as_png, 'image')} {stay} PNG, because "
                f"{self.encoding} would not fit the labels: {'; '.join(self.reasons)}{more}"
            )
        if self.empty_tiles_left_out:
            notes.append(f"{counted(self.empty_tiles_left_out, 'tile')} without an object left out")
        return notes

    def _certified(
        self, sample: Sample | RealPhoto, name: str, image: bytes, mask_png: bytes, mask: Mask
    ) -> ExportedSample:
        certified = consistency_check.check(sample, name, mask, labels=self.labels)
        split = self.split.of(sample) if self.split is not None else NO_SPLIT
        return ExportedSample(
            sample=sample,
            whole=sample,
            name=name,
            image_path=_image_path(split, name, ImageKind.PNG),
            image=image,
            mask_png=mask_png,
            mask=mask,
            channels=png_channels(image),
            areas=certified.areas,
            rings=certified.rings,
            provenance=manifest.provenance(sample, self.about),
            split=split,
        )

    def _encoded(self, piece: ExportedSample, window: Window | None, pixels: Pixels) -> ExportedSample:
        """Return a piece in the lossy encoding, or as it is if its labels would not fit any more."""
        obstacle = self.encoding.obstacle(pixels)
        if not obstacle:
            encoded = self.encoding.encode(pixels, read_packet(piece.image) or b"")
            if isinstance(piece.sample, Sample):  # nothing of a photo was synthesized
                background = self._background(piece.sample, window)
                obstacle = disagreement(pixels, encoded, piece.mask, background)
        if obstacle:
            self.kept_as_png += 1
            if len(self.reasons) < _MAX_NAMED:
                self.reasons.append(f"{piece.name} ({obstacle})")
            return replace(piece, details={**piece.details, "encoding": f"PNG, because {obstacle}"})
        return replace(
            piece,
            image=encoded,
            image_path=_image_path(piece.split, piece.name, self.encoding.kind),
            channels=3 if self.encoding.kind is ImageKind.WEBP else piece.channels,
            details={**piece.details, "encoding": str(self.encoding)},
        )

    def _background(self, sample: Sample, window: Window | None) -> EncodedBackground:
        ref = sample.provenance.background
        known = self._encoded_backgrounds.get((ref.digest, window))
        if known is not None:
            return known
        assert self.backgrounds is not None, "a lossy encoding is certified with the backgrounds"
        try:
            pixels = self.backgrounds(ref)
        except (StoreMissing, BadPicture) as missing:
            raise StoreError(
                f"sample {sample.file_stem} cannot be certified as {self.encoding}, because its background {ref.name} "
                f"is not there ({missing}); export it as PNG"
            ) from missing
        # a copy: a view would keep the whole background in memory
        encoded = encoded_background(pixels if window is None else pixels[window.slices].copy(), self.encoding)
        self._encoded_backgrounds[ref.digest, window] = encoded
        return encoded


def png_channels(png: bytes) -> int:
    """Return the number of channels by the colour type in IHDR: 1 for grey, 3 for colour."""
    return 3 if png[25] & 2 else 1


def _image_path(split: str, name: str, kind: ImageKind) -> str:
    return f"images/{split}/{name}{kind.suffix}" if split else f"images/{name}{kind.suffix}"


def _ref(data: bytes, window: Window, name: str) -> ImageRef:
    digest = hashlib.sha256(data).hexdigest()
    return ImageRef(digest=digest, width=window.width, height=window.height, name=name)


def _check_object(data: bytes, ref: ImageRef, description: str) -> None:
    """Check that the bytes match the sample's digest and are a PNG of its size (IHDR is the first chunk of a PNG).

    Raises:
        StoreError: they do not match.
    """
    if hashlib.sha256(data).hexdigest() != ref.digest:
        raise StoreError(f"the {description} is damaged: its checksum is not {ref.digest}; restore it, or run it again")
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise StoreError(f"the {description} is not a PNG file; generate the run again")
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if size != (ref.width, ref.height):
        raise StoreError(
            f"the {description} is {size[0]} by {size[1]} pixels, its record says {ref.width} by {ref.height}; "
            "generate the run again"
        )
