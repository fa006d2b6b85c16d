"""Label Studio's encoding of brush masks, of two values.

The format is that of ``label_studio_sdk.converter.brush``, whose encoder looks at every value in Python: after the
number of values, runs of one value, each with its length, as a string of bits. A mask is written as RGBA with four
equal values a pixel.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Bits of a run's length, by the two bits in front of it.
_LENGTH_BITS = (3, 4, 8, 16)
_MAX_RUN = 2 ** _LENGTH_BITS[-1]
#: Values a pixel.
_CHANNELS = 4


def encode(inside: npt.NDArray[np.bool_]) -> list[int]:
    """Return a mask [h, w] as the bytes of Label Studio's ``rle``."""
    flat = inside.reshape(-1)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.concatenate([starts, [flat.size]])) * _CHANNELS
    values = flat[starts]
    pieces = -(-lengths // _MAX_RUN)  # a longer run is written as several
    run_lengths = np.full(int(pieces.sum()), _MAX_RUN)
    run_lengths[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _MAX_RUN
    run_values = np.repeat(values, pieces)
    bits = [f"{7:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]  # values of 7 + 1 bits
    for length, value in zip(run_lengths.tolist(), run_values.tolist(), strict=True):
        kind = next(i for i, size in enumerate(_LENGTH_BITS) if length <= 2**size)
        bits.append(f"1{kind:02b}{length - 1:0{_LENGTH_BITS[kind]}b}{'1' * 8 if value else '0' * 8}")
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    body = int(text, 2).to_bytes(len(text) // 8, "big")
    return [*(flat.size * _CHANNELS).to_bytes(4, "big"), *body]
