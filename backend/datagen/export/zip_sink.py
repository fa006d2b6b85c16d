"""A zip as the destination of an export. It is written from front to back, so that it may go to a stream."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any, Protocol, cast

from datagen.export.sinks import DeferringSink

#: Bytes that are copied at a time.
_PIECE = 2**16
#: Largest entry that is kept in memory; of a larger one a temporary file is made.
_IN_MEMORY = 2**23

#: Date of every entry of a zip: the earliest that the format allows. It is constant, so that equal samples give equal
#: bytes.
_DATE = (1980, 1, 1, 0, 0, 0)

#: Unix permissions of every entry of a zip: a regular file that everyone may read.
_PERMISSIONS = 0o100644 << 16


class Output(Protocol):
    """The destination of a zip: a file, or a stream that cannot seek."""

    def write(self, data: Any, /) -> int:
        """Write all of ``data``."""


class ZipSink(DeferringSink):
    """Writes the files of an export as entries of a zip; call ``finish`` after the last one, or ``abandon``."""

    def __init__(self, output: Output, scratch_folder: Path | None = None) -> None:
        super().__init__()
        self.scratch_folder = scratch_folder
        self._tail = _Tail(output, scratch_folder)
        self._archive = zipfile.ZipFile(cast("IO[bytes]", self._tail), "w", zipfile.ZIP_STORED)

    def write(self, path: str, data: bytes, *, packed: bool = False) -> None:
        """Write an entry."""
        self._archive.writestr(self._entry(path, packed), data)
        self._tail.release()

    def add_file(self, path: str, file: IO[bytes], *, packed: bool) -> None:
        """Add the content of a file as one entry of any size."""
        self._tail.use_disk()
        with self._archive.open(self._entry(path, packed), "w", force_zip64=True) as entry:
            shutil.copyfileobj(file, entry, _PIECE)
        self._tail.release()

    def finish(self) -> None:
        """Write the table of the entries."""
        self._archive.close()
        self._tail.release()
        self._tail.close()

    def abandon(self) -> None:
        """Release everything; the output is no zip."""
        self._tail.ignore_writes()
        self._archive.close()
        self._tail.close()

    def _entry(self, path: str, packed: bool) -> zipfile.ZipInfo:
        if path in self._archive.NameToInfo:
            raise FileExistsError(f"{path} comes twice")
        entry = zipfile.ZipInfo(path, _DATE)
        entry.external_attr = _PERMISSIONS
        entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        return entry


class _Tail(io.RawIOBase):
    """The end of a zip, which ``zipfile`` may go back in: an entry's header is written again after its content."""

    def __init__(self, output: Output, scratch_folder: Path | None) -> None:
        super().__init__()
        self._output, self._scratch_folder = output, scratch_folder
        self._released = 0
        self._is_ignoring = False
        self._kept = self._new()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data) if self._is_ignoring else self._kept.write(data)

    def tell(self) -> int:
        return self._released + self._kept.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._released:
            raise io.UnsupportedOperation(f"seek to {offset} ({whence}): {self._released} bytes are released")
        return self._released + self._kept.seek(offset - self._released)

    def release(self) -> None:
        """Write what is kept to the output; it cannot be changed afterwards."""
        released, self._kept = self._kept, self._new()
        with released:
            self._released += released.seek(0, io.SEEK_END)
            released.seek(0)
            shutil.copyfileobj(released, self._output, _PIECE)

    def use_disk(self) -> None:
        """Keep what is written until the next release in a temporary file."""
        self._kept.rollover()

    def ignore_writes(self) -> None:
        """Ignore further writes, because the disk may be full."""
        self._is_ignoring = True

    def close(self) -> None:
        self._kept.close()
        super().close()

    def _new(self) -> tempfile.SpooledTemporaryFile[bytes]:
        folder = str(self._scratch_folder) if self._scratch_folder is not None else None
        return tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=folder)
