"""Input pictures on their way to an engine: from Label Studio into the image store once, from there decoded once.

Does not decide which inputs count: see ``inputs``.
"""

from __future__ import annotations

from collections import OrderedDict

from datagen.domain.inputs import ImageRef
from datagen.store.decode import decode
from datagen.store.images import ImageStore
from datagen.synthesis.engine import Picture
from datagen.workflow.workshop import Limits

#: Decoded pictures kept in memory, bytes; fifty backgrounds of one megapixel in colour fit.
CACHE_BYTES = 256 * 2**20


class StoredPictures:
    """Decodes pictures of the image store; the most recently used stay decoded."""

    def __init__(self, images: ImageStore, limits: Limits, cache_bytes: int = CACHE_BYTES) -> None:
        self._images = images
        self._limits = limits
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._bytes = 0

    def load(self, ref: ImageRef) -> Picture:
        """The picture, read-only: [h, w] or [h, w, 3], uint8 or uint16.

        Raises:
            StoreError: its object is missing or damaged.
            BadPicture: it does not decode.
        """
        if ref.digest in self._kept:
            self._kept.move_to_end(ref.digest)
            return self._kept[ref.digest]
        picture = decode(
            self._images.get(ref.digest), max_bytes=self._limits.image_bytes, max_pixels=self._limits.image_pixels
        )
        picture.flags.writeable = False
        self._kept[ref.digest] = picture
        self._bytes += picture.nbytes
        while self._bytes > self._cache_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes
        return picture
