"""An export whose process is killed goes on with its draft."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from datagen.export.local_sink import draft_of, local_sink


@pytest.mark.parametrize("to", ["set", "set.zip"])
def test_killed_export_goes_on(tmp_path: Path, to: str) -> None:
    """SIGKILL: nothing of the program runs any more; nothing is at the place of the export, and its draft is used."""
    program = f"""
        import os, signal
        from pathlib import Path
        from datagen.export.local_sink import local_sink

        with local_sink(Path({str(tmp_path / to)!r})) as sink:
            sink.write("images/1.png", b"1" * 100_000, packed=True)
            sink.write("images/2.png", b"2" * 100_000, packed=True)
            os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{to}.part"]
    first = "." if to == "set.zip" else "images/1.png"
    before = (draft_of(tmp_path / to) / first).stat().st_ino
    with local_sink(tmp_path / to) as sink:
        for name in "123":
            sink.write(f"images/{name}.png", name.encode() * 100_000, packed=True)
    assert (tmp_path / to / first).stat().st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [to]
