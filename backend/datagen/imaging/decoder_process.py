"""The process that decodes pictures for ``decoder_sandbox``: ``python -m datagen.imaging.decoder_process``.

The process imports and loads everything that decoding needs, and gives up all other rights (see ``containment``). Then
it answers requests on a socket, which is its standard input, one picture at a time. It ends when the socket is closed.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image

from datagen.errors import BadPicture
from datagen.imaging.codec import decode as decode_here
from datagen.imaging.containment import contain
from datagen.imaging.framing import PIXELS, receive, send
from datagen.imaging.png_encoder import encode_png


def _serve(decoder: str, max_bytes: int, max_pixels: int, cpu_seconds: int, memory_bytes: int) -> None:
    """Decode the pictures from the socket on standard input until it is closed."""
    line = socket.socket(fileno=0)
    module, _, function = decoder.partition(":")
    decode: Callable[..., Any] = getattr(importlib.import_module(module), function)
    _warm_up()
    os.environ.clear()
    os.dup2(1, 2)  # to /dev/null: decoders write content of files to standard error
    missing = contain(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds)
    send(line, json.dumps({"missing": missing}).encode())
    while True:
        try:
            with_pixels = receive(line, len(PIXELS)) == PIXELS
            data = receive(line, max_bytes)
        except ConnectionResetError:
            return
        answer: dict[str, Any]
        pixels = None
        try:
            pixels = decode(data, max_bytes=max_bytes, max_pixels=max_pixels)
            height, width = pixels.shape[:2]
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            answer = {"width": width, "height": height, "channels": channels, "type": str(pixels.dtype)}
        except BadPicture as problem:
            answer = {"problem": str(problem)}
        except MemoryError:
            answer = {"problem": f"decoding the picture takes more than {memory_bytes >> 20:,} MiB; scale it down"}
        del data
        send(line, json.dumps(answer).encode())
        if with_pixels and pixels is not None:
            line.sendall(pixels.data.cast("B"))
        del pixels


def _warm_up() -> None:
    """Decode small pictures of each kind, so that the libraries load what they need while files are accessible."""
    warnings.simplefilter("ignore")  # showing a warning would open source files
    cv2.setNumThreads(1)
    for data in _small_pictures():
        decode_here(data, max_bytes=len(data), max_pixels=1024)
        try:
            decode_here(data[: len(data) * 2 // 3], max_bytes=len(data), max_pixels=1024)
        except BadPicture:
            continue


def _small_pictures() -> Iterator[bytes]:
    grey = Image.effect_noise((16, 16), 64)
    colour = Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180)))
    exif = Image.Exif()
    exif[0x0112] = 6
    forms: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "JPEG", {"exif": exif}),
        (colour, "JPEG", {"progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (grey, "JPEG", {}),
        *((colour.convert(mode), "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        (colour, "BMP", {}),
        *((colour.convert("RGBA"), "WebP", {"lossless": lossless}) for lossless in (False, True)),
        *((colour, "TIFF", {"compression": packing}) for packing in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
        (grey.convert("1"), "TIFF", {"compression": "group4"}),
        (colour.convert("P"), "GIF", {}),
    ]
    for picture, kind, options in forms:
        file = io.BytesIO()
        picture.save(file, kind, **options)
        yield file.getvalue()
    sixteen_bit = np.asarray(colour).astype(np.uint16) * 257
    yield encode_png(sixteen_bit[..., 0])
    yield encode_png(sixteen_bit)
    yield cv2.imencode(".png", np.dstack((sixteen_bit, sixteen_bit[..., 0])))[1].tobytes()
    yield cv2.imencode(".tiff", sixteen_bit)[1].tobytes()


if __name__ == "__main__":
    _serve(sys.argv[1], *map(int, sys.argv[2:]))
    os._exit(0)  # the interpreter's regular exit makes system calls that are refused
