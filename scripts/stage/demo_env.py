"""The file that points a shell at the demo: after ``. .datagen/demo/env``, ``datagen`` uses the demo's settings."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

#: Settings that would lead to another installation. The file sets them to empty texts, which mean the default. An empty
#: text also takes precedence over a file .env in the working directory.
_EMPTIED = (
    "DATAGEN_DATABASE_URL",
    "DATAGEN_STORE_URL",
    "DATAGEN_PUBLIC_URL",
    "DATAGEN_WEBHOOK_SECRET",
    "DATAGEN_WEBHOOK_SECRET_PREVIOUS",
    "DATAGEN_BASIC_AUTH_PASS_PREVIOUS",
)
#: Settings that the file removes, because an empty text does not mean their default.
_REMOVED = ("DATAGEN_ENGINE", "DATAGEN_ENGINE_PARAMETERS")


def write(path: Path, variables: Mapping[str, str], programs: Path) -> None:
    """Write the file for a POSIX shell, readable by its owner only; replace an existing one.

    Args:
        path: The file.
        variables: The settings of the demo's installation, secrets included.
        programs: The folder of the ``datagen`` program. The file puts it first on the PATH, unless it is first already.
    """
    folder = shlex.quote(str(programs))
    lines = [
        "# Points a shell at the demo. It holds passwords: do not pass it on.",
        f"case $PATH in {folder}:*) ;; *) PATH={folder}:$PATH ;; esac",
        "export PATH",
        f"unset {' '.join(_REMOVED)}",
        *(f"export {name}=" for name in _EMPTIED if name not in variables),
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())),
    ]
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text("\n".join(lines) + "\n")
    draft.replace(path)


def command(path: Path, folder: Path | None = None) -> str:
    """Return the shell line that reads the file, as short as the working directory ``folder`` allows."""
    here = (folder or Path.cwd()).resolve()
    target = path.resolve()
    shown = os.path.relpath(target, here) if target.is_relative_to(here) else str(target)
    return f". {shlex.quote(shown if '/' in shown else f'./{shown}')}"
