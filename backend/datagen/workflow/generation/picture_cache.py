"""Cache of decoded pictures for engines. Each picture is read from the image store and decoded once.

This module does not decide which inputs are used: see ``inputs``.
"""

from __future__ import annotations

from collections import OrderedDict

from datagen.domain.inputs import ImageRef
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.store.blob_store import BlobStore
from datagen.synthesis.engine import Picture

#: Size of the cache, bytes; it holds fifty backgrounds of one megapixel in colour.
CACHE_BYTES = 256 * 2**20


class StoredPictures:
    """Decodes pictures of the image store and caches the most recently used ones.

    Inputs stay untrusted after their first check, so every picture is decoded within the limits of ``decoder``.
    """

    def __init__(self, images: BlobStore, decoder: DecoderSandbox, cache_bytes: int = CACHE_BYTES) -> None:
        self._images = images
        self._decoder = decoder
        self._cache_bytes = cache_bytes
        self._cached: OrderedDict[str, Picture] = OrderedDict()
        self._used_bytes = 0

    def load(self, ref: ImageRef) -> Picture:
        """Return the picture, read-only: [h, w] or [h, w, 3], uint8 or uint16.

        Raises:
            StoreError: the picture's object is missing or damaged, or the decoding process cannot be started.
            BadPicture: the picture does not decode.
        """
        if ref.digest in self._cached:
            self._cached.move_to_end(ref.digest)
            return self._cached[ref.digest]
        picture = self._decoder.decode(self._images.get(ref.digest))
        self._cached[ref.digest] = picture
        self._used_bytes += picture.nbytes
        while self._used_bytes > self._cache_bytes and len(self._cached) > 1:
            _, dropped = self._cached.popitem(last=False)
            self._used_bytes -= dropped.nbytes
        return picture
