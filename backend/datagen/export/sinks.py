"""The interface of an export's destinations, and what they have in common.

A destination gets whole files (``write``) and files that are written in pieces, of which several may be open at a time
(``open``). Its paths have forward slashes. Equal calls give equal bytes. See ``local_sink`` and ``remote_sink``.
"""

from __future__ import annotations

import io
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from datagen.errors import StoreError, StoreUnavailable

#: What ends an export so that a later one goes on with its files: Ctrl-C, SIGTERM, or a store that does not answer.
INTERRUPTIONS = (KeyboardInterrupt, SystemExit, StoreUnavailable)


class Sink(ABC):
    """Receives the files of one export, each once."""

    #: the folder of temporary files; None for the system's
    scratch_folder: Path | None = None

    def __init__(self) -> None:
        self._opened: list[IO[bytes]] = []

    @abstractmethod
    def write(self, path: str, data: bytes, *, packed: bool = False) -> None:
        """Write a whole file; ``packed`` data (PNG, JPEG) is not compressed further.

        Raises:
            FileExistsError: there is a file of this path in the export already; a destination in an object store does
                not find out.
        """

    def open(self, path: str, *, packed: bool = False) -> IO[bytes]:
        """Return a new file to be written in pieces, which is complete once it is closed.

        Raises:
            FileExistsError: as for ``write``.
        """
        file = self._create(path, packed=packed)
        self._opened.append(file)
        return file

    def scratch(self) -> IO[bytes]:
        """Return a temporary file; it is removed when it is closed, at the end of the export."""
        file = self._create_scratch()
        self._opened.append(file)
        return file

    def discard_open(self) -> None:
        """Close what is still open; a file that was not closed by its writer does not become part of the export."""
        for file in self._opened:
            if isinstance(file, DeferredFile):
                file.discard()
            else:
                file.close()
        self._opened.clear()

    @abstractmethod
    def _create(self, path: str, *, packed: bool) -> IO[bytes]:
        """Return a new file of the export."""

    def _create_scratch(self) -> IO[bytes]:
        return cast("IO[bytes]", tempfile.TemporaryFile(dir=self.scratch_folder))


class DeferringSink(Sink):
    """A destination that takes files whole: what is written in pieces is a temporary file until it is closed."""

    @abstractmethod
    def add_file(self, path: str, file: IO[bytes], *, packed: bool) -> None:
        """Add the content of a file of any size."""

    def _create(self, path: str, *, packed: bool) -> IO[bytes]:
        return cast("IO[bytes]", DeferredFile(self, self._create_scratch(), path, packed))


class DeferredFile(io.RawIOBase):
    """A file of a ``DeferringSink``."""

    def __init__(self, sink: DeferringSink, file: IO[bytes], path: str, packed: bool) -> None:
        super().__init__()
        self._sink, self._file, self._path, self._packed = sink, file, path, packed

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data: Any, /) -> int:
        """Write to the temporary file."""
        return self._file.write(data)

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self._file.tell()

    def close(self) -> None:
        """Add the file to the export."""
        if not self._file.closed:
            with self._file:
                self._file.seek(0)
                self._sink.add_file(self._path, self._file, packed=self._packed)
        super().close()

    def discard(self) -> None:
        """Close it without a file in the export."""
        with suppress(OSError):  # the disk has no room for the rest, which is dropped
            self._file.close()
        super().close()


def cannot_write(place: object, refusal: OSError) -> StoreError:
    """Return the error of an export whose destination refuses a write."""
    return StoreError(f"{place} cannot be written: {refusal}; choose another place, or make room")
