"""``install_locked`` installs a file whose hash is in the lock, and refuses every other, with the real pip."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stage.layout import ROOT


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package that this machine makes: parcel 1.0."""
    path = tmp_path / "index" / "parcel-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("parcel.py", "")
        archive.writestr("parcel-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n")
        archive.writestr("parcel-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("parcel-1.0.dist-info/RECORD", "")
    return path


def install(folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    """``install_locked`` of scripts/setup.sh with a lock."""
    (folder / "lock.txt").write_text(lock)
    code = f"""
        set -euo pipefail; . {ROOT}/scripts/setup.sh
        install_locked {sys.executable} --no-index --find-links {folder}/index \\
            --target {folder}/target -r {folder}/lock.txt
    """
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(["bash", "-c", code], env=environment, capture_output=True, text=True, check=False)


def test_a_file_with_the_locked_hash_is_installed(wheel: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    result = install(tmp_path, f"parcel==1.0 --hash=sha256:{digest}\n")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "target" / "parcel.py").exists()


@pytest.mark.parametrize(
    ("lock", "sentence"),
    [
        (f"parcel==1.0 --hash=sha256:{'0' * 64}\n", "THESE PACKAGES DO NOT MATCH THE HASHES"),
        ("parcel==1.0\n", "Hashes are required"),
    ],
    ids=["another hash", "no hash"],
)
def test_a_file_that_is_not_the_locked_one_is_refused(wheel: Path, tmp_path: Path, lock: str, sentence: str) -> None:
    result = install(tmp_path, lock)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert not (tmp_path / "target" / "parcel.py").exists()
