"""Which files are pictures by their names: those that Label Studio takes, and those that it does not."""

from __future__ import annotations

from pathlib import Path

from datagen.errors import BadPicture
from datagen.imaging.file_signatures import kind_of

#: Files of a folder that Label Studio takes as pictures.
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})
#: What people mean as a picture too, and must hear why it is left out; any other file is passed over.
REFUSED_SUFFIXES = frozenset(
    {".svg", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".pdf", ".dcm", ".exr", ".npy", ".zip"}
)


def refusal(path: Path) -> str:
    """Why a file that is meant as a picture is left out."""
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
