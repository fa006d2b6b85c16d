"""Kinds of files by their signatures: the accepted pictures, and a sentence for each kind that is refused.

This module compares bytes and decodes nothing. The error for a refused file names its kind. The error "not a picture"
would not help users whose other programs show the file as a picture."""

from __future__ import annotations

from datagen.errors import BadPicture

#: Accepted kinds by their signatures. WebP is missing, because its signature contains a length; ``kind_of`` recognizes
#: it.
_ACCEPTED = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
}

_EXPORT = "export it as PNG or JPEG and add that"

#: Refused kinds by their signatures: a description and the remedy.
_REFUSED = {
    b"%PDF": ("a PDF document", "export the picture in it as PNG and add that"),
    b"PK\x03\x04": ("a ZIP archive or an office document", "unpack it and add the pictures in it"),
    b"\x1f\x8b": ("a gzip archive", "unpack it and add the pictures in it"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it and add the pictures in it"),
    b"Rar!": ("a RAR archive", "unpack it and add the pictures in it"),
    b"8BPS": ("a Photoshop document", _EXPORT),
    b"\x00\x00\x00\x0cjP  ": ("a JPEG 2000 picture", _EXPORT),
    b"\xff\x4f\xff\x51": ("a JPEG 2000 picture", _EXPORT),
    b"\x00\x00\x00\x0cJXL ": ("a JPEG XL picture", _EXPORT),
    b"\xff\x0a": ("a JPEG XL picture", _EXPORT),
    b"\x00\x00\x01\x00": ("an icon", _EXPORT),
    b"v/1\x01": ("an OpenEXR picture", "export it as 16-bit PNG or TIFF and add that"),
    b"\x93NUMPY": ("a NumPy array", "save it as PNG or TIFF and add that"),
    b"\x89HDF": ("an HDF5 file", "save the picture in it as PNG or TIFF and add that"),
    b"\x1a\x45\xdf\xa3": ("a video", "save the frames you mean as PNG and add those"),
    b"version https://git-lfs": ("a Git LFS pointer, not the picture itself", "run “git lfs pull” and add it again"),
}

#: Refused kinds of text files, by their beginning without white space and in lower case: a description and the remedy.
_REFUSED_TEXT = {
    b"<svg": ("an SVG drawing, which has no pixels", _EXPORT),
    b"<!doctype html": (
        "a web page (HTML)",
        "the address may ask for a log-in: download the picture and add the file itself",
    ),
    b"<html": ("a web page (HTML)", "the address may ask for a log-in: download the picture and add the file itself"),
    b"<?xml": ("an XML document", "add the picture that it describes"),
    b"<": ("an XML document", "add the picture that it describes"),
    b"{": ("JSON text", "the address may ask for a log-in, or this is a task list: add the picture itself"),
    b"[": ("JSON text", "the address may ask for a log-in, or this is a task list: add the picture itself"),
}

#: Refused kinds of ISO media files, by their brand, which begins at byte 8: a description and the remedy.
_REFUSED_BRANDS = {
    b"heic": ("an HEIC photo, as iPhones save them", _EXPORT),
    b"heix": ("an HEIC photo, as iPhones save them", _EXPORT),
    b"mif1": ("an HEIF photo", _EXPORT),
    b"avif": ("an AVIF picture", _EXPORT),
}


def kind_of(data: bytes) -> str:
    """Return the kind of an accepted picture: JPEG, PNG, BMP, WebP, TIFF or GIF.

    Raises:
        BadPicture: the file is of another kind; the sentence names the kind and the fix.
    """
    if not data:
        raise BadPicture("the file is empty; add it again")
    for start, kind in _ACCEPTED.items():
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    description, remedy = _describe_refused(data)
    raise BadPicture(f"the file is {description}, not a JPEG, PNG, BMP, WebP, TIFF or GIF picture; {remedy}")


def _describe_refused(data: bytes) -> tuple[str, str]:
    for start, refusal in _REFUSED.items():
        if data.startswith(start):
            return refusal
    if data[4:8] == b"ftyp":
        return _REFUSED_BRANDS.get(data[8:12], ("a video", "save the frames you mean as PNG and add those"))
    if data[:4] == b"RIFF":
        return "a video or sound", "save the frames you mean as PNG and add those"
    if data[128:132] == b"DICM":
        return "a DICOM file", "export its picture as 16-bit PNG and add that"
    text = data[:2048].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<?xml", b"<!")) and b"<svg" in text:
        return _REFUSED_TEXT[b"<svg"]
    for start, refusal in _REFUSED_TEXT.items():
        if text.startswith(start):
            return refusal
    return f"of an unknown kind (it begins with {data[:8].hex(' ')})", _EXPORT
