"""The kinds of image files that an export can have. This module imports nothing, because the command line does."""

from __future__ import annotations

from enum import StrEnum


class ImageKind(StrEnum):
    """A kind of image files; the value is its name in options."""

    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"

    @property
    def suffix(self) -> str:
        """The suffix of its files, with a dot."""
        return ".jpg" if self is ImageKind.JPEG else f".{self.value}"
