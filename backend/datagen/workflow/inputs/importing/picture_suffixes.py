"""Suffixes of picture files: those that Label Studio accepts, and those that it does not."""

from __future__ import annotations

from pathlib import Path

from datagen.errors import BadPicture
from datagen.imaging.file_signatures import kind_of

#: Suffixes of picture files that Label Studio accepts.
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})
#: Suffixes of picture files that are not accepted. Such a file is reported; a file with any other suffix is skipped.
REFUSED_SUFFIXES = frozenset(
    {".svg", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".pdf", ".dcm", ".exr", ".npy", ".zip"}
)


def refusal(path: Path) -> str:
    """Return the reason why a file with one of ``REFUSED_SUFFIXES`` is not used."""
    try:
        with path.open("rb") as opened:
            beginning = opened.read(4096)
    except OSError as fault:
        return f"it cannot be read ({fault.strerror})"
    try:
        kind = kind_of(beginning)
    except BadPicture as problem:
        return str(problem)
    return f"Label Studio takes no file of this name (it is a {kind}); save it as PNG and add that"
