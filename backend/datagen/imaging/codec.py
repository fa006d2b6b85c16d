"""Decoding of picture files into pixels. No other module decodes untrusted pictures.

The size of a picture is checked before its pixels are decoded. The pixels have the orientation that Label Studio shows,
so that percentage coordinates of Label Studio refer to the right pixels. Colour profiles are not applied, because
libraries that load images for training (OpenCV, torchvision) ignore them too."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from datagen.errors import BadPicture
from datagen.imaging.completeness import check_png_rows, check_tiff_rows
from datagen.imaging.file_signatures import kind_of

#: Array [h, w] (grey) or [h, w, 3] (RGB), uint8 or uint16.
Pixels = npt.NDArray[Any]

#: Pillow's class for each kind of file. ``Image.open`` is not used, because its size limit is global, and ours is an
#: argument.
_OPENERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "BMP": BmpImageFile,
    "WebP": WebPImageFile,
    "TIFF": TiffImageFile,
    "GIF": GifImageFile,
}

#: Kinds of files whose EXIF orientation browsers apply. This was measured in Chromium, which ignores it in WebP and
#: shows no TIFF.
_TURNED_BY_EXIF = frozenset({"JPEG", "PNG"})

#: Numbers of two tags in EXIF and TIFF.
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 0x0102

#: Functions that turn stored pixels upright, by the value of the orientation tag. For 1 and invalid values, the pixels
#: are upright already.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: np.swapaxes(pixels, 0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(np.swapaxes(pixels, 0, 1), 2),
    8: lambda pixels: np.rot90(pixels, 1),
}


#: Colour types of PNG (byte 25 of a file) that are grey: without alpha, and with alpha.
_PNG_GREY_TYPES = (0, 4)

#: Warning of the JPEG decoder about bytes after the last row. Cameras write a few such bytes. Many such bytes are rows
#: that the header does not declare.
_SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_SURPLUS_BYTES, _MAX_SURPLUS_SHARE = 64, 1 / 64

#: Number of rows that are composited over white at a time; it bounds the memory for the 64-bit intermediate values.
_BAND_ROWS = 256


def decode(data: bytes, *, max_bytes: int, max_pixels: int) -> Pixels:
    """Return the pixels of a JPEG, PNG, BMP, WebP, TIFF or single-frame GIF file, upright and read-only.

    A palette or CMYK becomes RGB, one bit becomes 0 or 255, and 16 bits remain 16 bits. A transparent picture is
    composited over white, the background in browsers. If the alpha channel were dropped instead, the hidden colours of
    transparent pixels would appear.

    Args:
        data: the file.
        max_bytes: the largest accepted file, in bytes.
        max_pixels: the largest accepted picture, in pixels.

    Returns:
        [h, w] grey or [h, w, 3] RGB, uint8 or uint16.

    Raises:
        BadPicture: the file is of another kind, exceeds a limit, or is truncated or damaged; the sentence names the
            fix.
    """
    check_bytes(len(data), max_bytes)
    kind = kind_of(data)
    with _damage_as_bad_picture(kind):
        picture = _OPENERS[kind](io.BytesIO(data))
        _check_pixels(picture, max_pixels)
        _check_frames(picture, kind)
        orientation = _orientation(picture, kind)
        if isinstance(picture, JpegImageFile):
            pixels = _decode_jpeg(picture, data)
        elif _is_sixteen_bit_png_or_colour_tiff(picture, data):
            pixels = _decode_by_opencv(picture, data)
        else:
            pixels = _decode_by_pillow(picture, data)
    if orientation in _TURNS:
        pixels = _TURNS[orientation](pixels)
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    return pixels


def check_bytes(count: int, max_bytes: int) -> None:
    """Check that a file of ``count`` bytes is not too large.

    Raises:
        BadPicture: the file has more than ``max_bytes`` bytes.
    """
    if count > max_bytes:
        raise BadPicture(
            f"the file has {count:,} bytes, at most {max_bytes:,} are accepted; "
            "save it smaller, or raise DATAGEN_MAX_IMAGE_BYTES"
        )


@contextlib.contextmanager
def _damage_as_bad_picture(kind: str) -> Iterator[None]:
    """Context manager that converts any error which a decoder raises for a damaged file to BadPicture.

    Its sentence is for the user. Pillow's plug-ins raise their parsing errors unchanged (struct, zlib, index, key,
    syntax, …). OpenCV has errors of its own.
    """
    try:
        yield
    except (BadPicture, MemoryError):
        raise
    except Exception as damage:
        raise BadPicture(
            f"the {kind} file is truncated or damaged ({str(damage) or type(damage).__name__}); "
            "open it in a picture editor, save it again, and add that"
        ) from damage


def _check_pixels(picture: Image.Image, max_pixels: int) -> None:
    width, height = picture.size
    if width < 1 or height < 1:
        raise BadPicture(f"the picture is {width} by {height} pixels: there is nothing to see; add another")
    if width * height > max_pixels:
        raise BadPicture(
            f"the picture is {width:,} by {height:,} pixels, at most {max_pixels:,} are accepted in all; "
            "crop it or scale it down, or raise DATAGEN_MAX_IMAGE_PIXELS"
        )


def _check_frames(picture: Image.Image, kind: str) -> None:
    if getattr(picture, "is_animated", False):
        description = "a TIFF file with several pages" if kind == "TIFF" else f"an animated {kind} with several frames"
        raise BadPicture(f"the file is {description}; save the one you mean as PNG and add that")


def _orientation(picture: Image.Image, kind: str) -> int:
    """Return the orientation of the stored pixels, from 1 to 8, as browsers apply it.

    It is read from the EXIF block only. Pillow would also read it from XMP, which browsers ignore. It is 1 for TIFF,
    because the decoders themselves apply the orientation of a TIFF.
    """
    block = picture.info.get("exif")
    if kind not in _TURNED_BY_EXIF or not block:
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        return int(exif.get(_ORIENTATION, 1))
    except (SyntaxError, ValueError, TypeError, OSError, ArithmeticError, LookupError):
        return 1  # browsers also ignore a broken EXIF block


def _is_sixteen_bit_png_or_colour_tiff(picture: Image.Image, data: bytes) -> bool:
    """Return whether the picture is a PNG of 16 bits, or a TIFF with several channels of 16 bits.

    Pillow would reduce 16-bit colour, and 16-bit grey with alpha, to 8 bits.
    """
    if isinstance(picture, PngImageFile):
        return data[24] == 16  # the depth in IHDR, which always comes first
    bits = picture.tag_v2.get(_BITS_PER_SAMPLE, ()) if isinstance(picture, TiffImageFile) else ()
    return len(bits) > 1 and set(bits) == {16}


def _decode_by_opencv(picture: Image.Image, data: bytes) -> Pixels:
    grey = False
    if isinstance(picture, PngImageFile):
        grey = data[25] in _PNG_GREY_TYPES
        picture.verify()  # checks every chunk's checksum: OpenCV would fill in missing data
    decoded = cast("Pixels | None", cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    if decoded is None:
        raise ValueError("its pixels do not decode")
    if decoded.ndim == 3:
        colour = decoded[..., 0] if grey else decoded[..., 2::-1]
        return _composite_over_white(colour, decoded[..., 3]) if decoded.shape[2] == 4 else colour
    return decoded


def _decode_jpeg(picture: JpegImageFile, data: bytes) -> Pixels:
    """Return the pixels of a JPEG file, and fail on warnings, such as missing rows.

    They are the pixels that Pillow returns, because both decoders use libjpeg-turbo.
    """
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    if (width, height) != picture.size:
        raise ValueError(f"it has two sizes, {width} by {height} and {picture.width} by {picture.height}")
    if picture.mode not in ("L", "RGB"):  # CMYK: Pillow knows which are stored inverted
        _decode_jpeg_strictly(data, "CMYK", min_height=1, min_width=1, min_factor=8)
        return _decode_by_pillow(picture, data)
    pixels = _decode_jpeg_strictly(data, "GRAY" if picture.mode == "L" else "RGB")
    return pixels[..., 0] if picture.mode == "L" else pixels


def _decode_jpeg_strictly(data: bytes, colours: str, **scale: int) -> Pixels:
    try:
        return cast("Pixels", simplejpeg.decode_jpeg(data, colours, **scale))
    except ValueError as warning:
        surplus = _SURPLUS.search(str(warning))
        if surplus is None or int(surplus[1]) > max(_MAX_SURPLUS_BYTES, _MAX_SURPLUS_SHARE * len(data)):
            raise
    return cast("Pixels", simplejpeg.decode_jpeg(data, colours, strict=False, **scale))


def _decode_by_pillow(picture: Image.Image, data: bytes) -> Pixels:
    if isinstance(picture, TiffImageFile):
        check_tiff_rows(picture)
    picture.load()
    if isinstance(picture, PngImageFile):
        check_png_rows(picture, data)
    if picture.has_transparency_data:
        pixels = np.asarray(picture.convert("LA" if picture.mode in ("1", "L", "LA", "La") else "RGBA"))
        colour = pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :3]
        return _composite_over_white(colour, pixels[..., -1])
    match picture.mode:
        case "L" | "RGB":
            return np.asarray(picture)
        case "1":
            return np.asarray(picture.convert("L"))
        case "P" | "CMYK" | "YCbCr" | "RGBX":
            return np.asarray(picture.convert("RGB"))
        case "I;16" | "I;16B" | "I;16L":
            return np.asarray(picture).astype(np.uint16, copy=False)
        case mode:
            raise BadPicture(f"the picture's pixels are of type {mode}; save it as grey or RGB with 8 or 16 bits")


def _composite_over_white(colour: Pixels, alpha: Pixels) -> Pixels:
    """Return ``colour`` [h, w] or [h, w, 3] composited over white by ``alpha`` [h, w].

    Both have the same unsigned type, and ``colour`` is not premultiplied.
    """
    white = np.uint64(np.iinfo(colour.dtype).max)
    flat = np.empty_like(colour)
    for top in range(0, len(colour), _BAND_ROWS):
        band = slice(top, top + _BAND_ROWS)
        share = alpha[band].astype(np.uint64).reshape(alpha[band].shape + (1,) * (colour.ndim - 2))
        flat[band] = (colour[band] * share + white * (white - share) + white // 2) // white
    return flat
