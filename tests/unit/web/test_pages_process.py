"""The process of the pages: where its socket is."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from datagen.web.pages_process import PagesProcess


def test_a_socket_whose_path_would_be_too_long_is_put_into_a_short_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_folder = tmp_path / ("long" * 25)
    long_folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long_folder))
    monkeypatch.setattr(PagesProcess, "_run", lambda _process: None)
    process = PagesProcess()
    process.start()
    assert process.socket is not None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(process.socket))  # raises OSError for a path of more than 107 bytes
    assert process.socket.parent.stat().st_mode & 0o077 == 0
    assert list(long_folder.iterdir()) == []
