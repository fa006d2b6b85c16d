"""A file of which an interrupted export wrote the beginning: equal bytes are not written again."""

from __future__ import annotations

import io
import os
from typing import Any


class ContinuedFile(io.RawIOBase):
    """A file that is written from its beginning, in pieces. Bytes that it holds already are compared, not written.

    From the first difference on, the old content is dropped. The file is complete once it is closed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open ``path``, or create it.

        Raises:
            OSError: the file cannot be opened for reading and writing.
        """
        super().__init__()
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        self._left = os.fstat(self._file.fileno()).st_size  # old bytes that were not compared yet
        self._position = 0

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._file.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written, compared ones included."""
        return self._position

    def write(self, data: Any, /) -> int:
        """Write all of ``data``.

        Raises:
            OSError: there is no room for it.
        """
        rest = memoryview(data).cast("B")
        size = len(rest)
        if self._left and self._is_next(rest):
            self._left -= size
        else:
            if self._left:
                self._drop_old()
            while rest:  # the system writes less than it was given if there is room for less, and at 2 GiB
                rest = rest[self._file.write(rest) or 0 :]
        self._position += size
        return size

    def truncate_rest(self) -> None:
        """Drop what is left of the old content."""
        if self._left:
            self._drop_old()

    def close(self) -> None:
        """Drop what is left of the old content, and close the file."""
        if not self._file.closed:
            with self._file:
                self.truncate_rest()
        super().close()

    def keep(self) -> None:
        """Close the file with the rest of its old content, after an interruption."""
        self._left = 0
        self._file.close()
        super().close()

    def _is_next(self, data: memoryview) -> bool:
        if len(data) > self._left:
            return False
        read = 0
        while read < len(data):
            part = self._file.read(len(data) - read)
            if not part or part != data[read : read + len(part)]:
                return False
            read += len(part)
        return True

    def _drop_old(self) -> None:
        self._file.seek(self._position)
        self._file.truncate()
        self._left = 0
