"""Cache of decoded pictures for engines. Each picture is read from the image store and decoded once.

This module does not decide which inputs are used: see ``inputs``.
"""

from __future__ import annotations

from cachetools import LRUCache

from datagen.domain.inputs import ImageRef
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.store.blob_store import BlobStore
from datagen.synthesis.engine import Picture

#: Largest size of the cache, bytes. This is enough for 89 backgrounds of one megapixel in colour.
CACHE_BYTES = 256 * 2**20


def picture_lru(cache_bytes: int = CACHE_BYTES) -> LRUCache[str, Picture]:
    """Return a cache of the pictures used last, at least one, by their digest."""
    # the cache refuses an item larger than itself, and a picture of the largest allowed size is larger
    return LRUCache(cache_bytes, lambda picture: min(picture.nbytes, cache_bytes))


class StoredPictures:
    """Decodes pictures of the image store and caches the most recently used ones, at least one.

    An input stays untrusted even after it was checked, so every picture is decoded within the limits of ``decoder``.
    """

    def __init__(self, images: BlobStore, decoder: DecoderSandbox, cache_bytes: int = CACHE_BYTES) -> None:
        self._images = images
        self._decoder = decoder
        self._cached = picture_lru(cache_bytes)

    def load(self, ref: ImageRef) -> Picture:
        """Return the picture, read-only: [h, w] or [h, w, 3], uint8 or uint16.

        Raises:
            StoreError: the picture's object is missing or damaged, or the decoding process cannot be started.
            BadPicture: the picture does not decode.
        """
        picture = self._cached.get(ref.digest)
        if picture is None:
            picture = self._cached[ref.digest] = self._decoder.decode(self._images.get(ref.digest))
        return picture
