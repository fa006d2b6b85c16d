"""Runs lines in a shell, also in one whose environment has the settings of another installation."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: Settings that lead to another installation, as a person may have set them.
ELSEWHERE = {
    "DATAGEN_DATABASE_URL": "postgresql+psycopg://nobody:hush@127.0.0.1:1/none",
    "DATAGEN_STORE_URL": "file:///proc/no-folder",
    "DATAGEN_PUBLIC_URL": "http://127.0.0.1:1",
    "DATAGEN_WEBHOOK_SECRET": "of another installation",
    "DATAGEN_ENGINE": "diffusion",
    "LABEL_STUDIO_URL": "http://127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DATAGEN_DATA_DIR": "/nowhere",
    "PORT": "1",
}


def in_shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", line],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
