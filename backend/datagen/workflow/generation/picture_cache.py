"""Input pictures on their way to an engine: from Label Studio into the image store once, from there decoded once.

Does not decide which inputs count: see ``inputs``.
"""

from __future__ import annotations

from collections import OrderedDict

from datagen.domain.inputs import ImageRef
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.store.blob_store import BlobStore
from datagen.synthesis.engine import Picture

#: Decoded pictures kept in memory, bytes; fifty backgrounds of one megapixel in colour fit.
CACHE_BYTES = 256 * 2**20


class StoredPictures:
    """Decodes pictures of the image store; the most recently used stay decoded.

    Inputs are foreign bytes also after they passed once, so every decoding has the bounds of ``decoder``.
    """

    def __init__(self, images: BlobStore, decoder: DecoderSandbox, cache_bytes: int = CACHE_BYTES) -> None:
        self._images = images
        self._decoder = decoder
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._bytes = 0

    def load(self, ref: ImageRef) -> Picture:
        """The picture, read-only: [h, w] or [h, w, 3], uint8 or uint16.

        Raises:
            StoreError: its object is missing or damaged, or the decoding process cannot be started.
            BadPicture: it does not decode.
        """
        if ref.digest in self._kept:
            self._kept.move_to_end(ref.digest)
            return self._kept[ref.digest]
        picture = self._decoder.decode(self._images.get(ref.digest))
        self._kept[ref.digest] = picture
        self._bytes += picture.nbytes
        while self._bytes > self._cache_bytes and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes
        return picture
