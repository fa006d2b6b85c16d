"""Decoding: real uploads become pixels, or an error sentence, and the pixels are those that Label Studio shows."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from datagen.errors import BadPicture
from datagen.imaging.codec import decode
from datagen.imaging.png_encoder import encode_png

LIMITS = {"max_bytes": 10_000_000, "max_pixels": 1_000_000}

#: Four corners, four colours: any turn or mirror image is noticed.
CORNERS = np.full((20, 40, 3), 128, np.uint8)
CORNERS[:10, :20] = (255, 0, 0)
CORNERS[:10, 20:] = (0, 255, 0)
CORNERS[10:, :20] = (0, 0, 255)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def picture(kind: str = "PNG", **options: Any) -> bytes:
    return saved(Image.fromarray(CORNERS), kind, **options)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def decoded(data: bytes, **limits: int) -> npt.NDArray[Any]:
    return decode(data, **(LIMITS | limits))


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def stored_as(orientation: int, upright: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The pixels that a camera stores with this orientation so that they show as ``upright``."""
    back = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(back[orientation](upright))


class TestAccepted:
    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
    def test_colour_comes_out_as_rgb_not_bgr(self, kind: str) -> None:
        options = {"lossless": True} if kind == "WEBP" else {}
        np.testing.assert_array_equal(decoded(picture(kind, **options)), CORNERS)

    def test_jpeg(self) -> None:
        pixels = decoded(picture("JPEG", quality=95))
        assert (pixels.shape, pixels.dtype) == ((20, 40, 3), np.uint8)
        assert np.abs(pixels.astype(int)[5, 5] - (255, 0, 0)).max() < 10

    @pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "JPEG"])
    def test_grey_stays_two_dimensional(self, kind: str) -> None:
        grey = Image.fromarray(np.full((20, 40), 77, np.uint8))
        np.testing.assert_array_equal(decoded(saved(grey, kind)), np.full((20, 40), 77, np.uint8))

    def test_a_gif_with_one_frame(self) -> None:
        np.testing.assert_array_equal(decoded(picture("GIF")), CORNERS)

    def test_a_palette_becomes_rgb(self) -> None:
        data = saved(Image.fromarray(CORNERS).quantize(4), "PNG")
        np.testing.assert_array_equal(decoded(data), CORNERS)

    def test_one_bit_becomes_0_and_255(self) -> None:
        bits = np.eye(16, dtype=bool)
        np.testing.assert_array_equal(decoded(saved(Image.fromarray(bits), "PNG")), bits * np.uint8(255))

    def test_cmyk_becomes_rgb(self) -> None:
        data = saved(Image.fromarray(CORNERS).convert("CMYK"), "JPEG", quality=98)
        pixels = decoded(data)
        assert pixels.shape == (20, 40, 3)
        assert np.abs(pixels.astype(int)[[5, 5, 15], [5, 35, 5]] - CORNERS[[5, 5, 15], [5, 35, 5]]).max() < 12

    def test_pixels_are_read_only_and_contiguous(self) -> None:
        for data in (picture(), picture("JPEG", exif=with_orientation(6)), encode_png(CORNERS.astype(np.uint16))):
            pixels = decoded(data)
            assert not pixels.flags.writeable
            assert pixels.flags.c_contiguous

    def test_the_kind_is_found_by_content(self) -> None:
        """The decoder does not get the file's name, so a PNG named .jpg is decoded as PNG."""
        np.testing.assert_array_equal(decoded(picture("PNG")), CORNERS)


class TestSixteenBits:
    grey = (np.arange(20 * 40, dtype=np.uint16) * 80).reshape(20, 40)
    colour = np.stack([grey, grey + 7, grey[::-1]], axis=2)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF"])
    def test_grey_keeps_every_bit(self, kind: str) -> None:
        pixels = decoded(saved(Image.fromarray(self.grey), kind))
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, self.grey)

    def test_big_endian_tiff(self) -> None:
        big = Image.frombytes("I;16B", (40, 20), self.grey.astype(">u2").tobytes())
        pixels = decoded(saved(big, "TIFF"))
        assert pixels.dtype == np.uint16
        assert pixels.dtype.isnative
        np.testing.assert_array_equal(pixels, self.grey)

    @pytest.mark.parametrize("extension", [".png", ".tif"])
    def test_colour_keeps_every_bit(self, extension: str) -> None:
        data = cv2.imencode(extension, np.ascontiguousarray(self.colour[..., ::-1]))[1].tobytes()
        pixels = decoded(data)
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, self.colour)

    def test_alpha_is_laid_on_white(self) -> None:
        clear = np.zeros((4, 4, 4), np.uint16)
        clear[:2] = (1000, 2000, 3000, 65535)
        pixels = decoded(cv2.imencode(".png", clear)[1].tobytes())
        assert pixels[0, 0].tolist() == [3000, 2000, 1000]
        assert pixels[3, 3].tolist() == [65535] * 3

    def test_grey_with_alpha_stays_grey(self) -> None:
        rows = (b"\x00" + struct.pack(">4H", 1000, 65535, 2000, 0)) * 2
        assert decoded(png(2, 2, 16, 4, rows)).tolist() == [[1000, 65535], [1000, 65535]]

    @pytest.mark.parametrize("extension", [".png", ".tif"])
    def test_half_a_file_is_a_sentence(self, extension: str) -> None:
        data = cv2.imencode(extension, np.random.default_rng(1).integers(0, 65535, (99, 99, 3), np.uint16))[1].tobytes()
        with pytest.raises(BadPicture, match="truncated or damaged"):
            decoded(data[: len(data) // 2])

    @pytest.mark.parametrize("pixels", [np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)])
    def test_more_than_sixteen_is_refused(self, pixels: npt.NDArray[Any]) -> None:
        with pytest.raises(BadPicture, match="save it as grey or RGB with 8 or 16 bits"):
            decoded(saved(Image.fromarray(pixels), "TIFF"))


class TestAlpha:
    def test_transparent_is_white_and_half_is_half_way(self) -> None:
        rgba = np.dstack([CORNERS, np.full((20, 40), 255, np.uint8)])
        rgba[0, 0, 3], rgba[0, 1, 3] = 0, 128
        pixels = decoded(saved(Image.fromarray(rgba), "PNG"))
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert pixels[0, 1].tolist() == [255, 127, 127]
        np.testing.assert_array_equal(pixels[1:], CORNERS[1:])

    def test_grey_with_alpha_stays_grey(self) -> None:
        grey = np.full((4, 4, 2), 100, np.uint8)
        grey[0, 0, 1], grey[1:, :, 1] = 0, 255
        pixels = decoded(saved(Image.fromarray(grey), "PNG"))
        assert pixels.shape == (4, 4)
        assert (pixels[0, 0], pixels[2, 2]) == (255, 100)

    def test_a_transparent_palette_entry(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        assert decoded(saved(image, "PNG", transparency=1)).tolist() == [[[10, 20, 30], [255, 255, 255]]]

    def test_a_picture_taller_than_a_band(self) -> None:
        rgba = np.zeros((700, 3, 4), np.uint8)
        assert (decoded(saved(Image.fromarray(rgba), "PNG")) == 255).all()


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
    def test_orientation_is_that_of_a_browser(self, kind: str, orientation: int) -> None:
        stored = Image.fromarray(stored_as(orientation, CORNERS))
        options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
        data = saved(stored, kind, exif=with_orientation(orientation), **options)
        pixels = decoded(data)
        assert pixels.shape == CORNERS.shape
        assert np.abs(pixels[::5, ::5].astype(int) - CORNERS[::5, ::5]).max() < 20

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_of_sixteen_bit_colour_is_applied(self, orientation: int) -> None:
        sixteen = CORNERS.astype(np.uint16) * 257
        data = cv2.imencode(".png", stored_as(orientation, sixteen)[..., ::-1])[1].tobytes()
        exif = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00" + bytes([orientation]) + b"\0" * 6
        data = data[:33] + chunk(b"eXIf", exif) + data[33:]
        np.testing.assert_array_equal(decoded(data), sixteen)

    def test_a_webp_is_shown_as_it_is_stored(self) -> None:
        data = picture("WEBP", lossless=True, exif=with_orientation(6))
        np.testing.assert_array_equal(decoded(data), CORNERS)

    def test_xmp_does_not_turn_what_a_browser_does_not_turn(self) -> None:
        xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
        assert decoded(picture("JPEG", xmp=xmp)).shape == CORNERS.shape

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_a_nonsense_orientation_is_upright(self, orientation: int) -> None:
        data = picture("PNG", exif=with_orientation(orientation))
        np.testing.assert_array_equal(decoded(data), CORNERS)

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF")
    @pytest.mark.parametrize(
        "exif", [b"Exif\0\0garbage!", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\x7f"]
    )
    def test_a_broken_exif_block_is_upright(self, exif: bytes) -> None:
        assert decoded(picture("JPEG", exif=exif)).shape == CORNERS.shape


class TestRefused:
    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (b"", "the file is empty"),
            (b"%PDF-1.7\n", "a PDF document"),
            (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
            (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- x -->\n<svg/>', "an SVG drawing"),
            (b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"><svg/>', "an SVG drawing"),
            (b"\n<!DOCTYPE HTML><html><body>log in", "a web page"),
            (b"<html>", "a web page"),
            (b"<?xml version='1.0'?><annotation/>", "an XML document"),
            (b'{"detail": "Authentication credentials were not provided."}', "JSON text"),
            (b"PK\x03\x04....", "a ZIP archive"),
            (b"\x00\x00\x00\x18ftypheic....", "an HEIC photo"),
            (b"\x00\x00\x00\x18ftypavif....", "an AVIF picture"),
            (b"\x00\x00\x00\x18ftypisom....", "a video"),
            (b"RIFF\x00\x00\x00\x00AVI LIST", "a video or sound"),
            (b"\0" * 128 + b"DICM", "a DICOM file"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            (b"\x01\x02\x03\x04", r"of an unknown kind \(it begins with 01 02 03 04\)"),
        ],
    )
    def test_refused_kind_is_named_with_the_fix(self, data: bytes, kind: str) -> None:
        with pytest.raises(BadPicture, match=kind) as caught:
            decoded(data)
        assert any(word in str(caught.value) for word in ("add", "export", "save", "unpack", "run"))

    @pytest.mark.parametrize(("kind", "name"), [("GIF", "GIF"), ("WEBP", "WebP"), ("PNG", "PNG")])
    def test_an_animation(self, kind: str, name: str) -> None:
        frames = [Image.fromarray(CORNERS), Image.fromarray(255 - CORNERS)]
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        with pytest.raises(BadPicture, match=f"an animated {name} with several frames; save the one you mean"):
            decoded(data)

    def test_a_tiff_with_pages(self) -> None:
        pages = [Image.fromarray(CORNERS), Image.fromarray(255 - CORNERS)]
        with pytest.raises(BadPicture, match="a TIFF file with several pages"):
            decoded(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))

    def test_too_many_bytes(self) -> None:
        with pytest.raises(BadPicture, match=r"at most 100 are accepted; .*DATAGEN_MAX_IMAGE_BYTES"):
            decoded(picture(), max_bytes=100)

    def test_too_many_pixels(self) -> None:
        with pytest.raises(BadPicture, match=r"40 by 20 pixels, at most 799 .*DATAGEN_MAX_IMAGE_PIXELS"):
            decoded(picture(), max_pixels=799)
        assert decoded(picture(), max_pixels=800).shape == CORNERS.shape

    @pytest.mark.parametrize("side", [60_000, 2_000_000_000])
    def test_a_bomb_is_refused_before_it_is_decoded(self, side: int) -> None:
        """3.6 billion pixels of one colour in a few bytes: with the default limit, without a warning or a wait."""
        bomb = png(side, side, 8, 2, b"\0" * 1000)
        with pytest.raises(BadPicture, match=f"{side:,} by {side:,} pixels"):
            decoded(bomb, max_pixels=100_000_000)

    def test_a_large_picture_within_the_limit_raises_no_warning(self) -> None:
        """Pillow's own limit warns above 89 megapixels; ours says 100."""
        large = png(10_000, 9_500, 1, 0, (b"\0" + b"\xff" * 1250) * 9_500)
        assert decoded(large, max_pixels=100_000_000).shape == (9_500, 10_000)

    @pytest.mark.parametrize("side", [(0, 5), (5, 0)])
    def test_a_picture_without_pixels(self, side: tuple[int, int]) -> None:
        with pytest.raises(BadPicture):
            decoded(png(*side, 8, 0, b""))

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
    def test_a_truncated_file(self, kind: str, kept: float) -> None:
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
        data = saved(noise, kind)
        with pytest.raises(BadPicture, match="truncated or damaged"):
            decoded(data[: int(len(data) * kept)])

    @pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage that it can live with
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        kind=st.sampled_from(["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"]),
        damage=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=20),
    )
    def test_damaged_bytes_give_pixels_or_a_sentence(self, kind: str, damage: list[tuple[int, int]]) -> None:
        data = bytearray(picture(kind))
        for place, value in damage:
            data[place % len(data)] = value
        try:
            pixels = decoded(bytes(data))
        except BadPicture:
            return
        assert pixels.dtype in (np.uint8, np.uint16)
        assert pixels.ndim == 2 or pixels.shape[2] == 3
