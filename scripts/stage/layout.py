"""Paths of the set-up in a checkout; ``scripts/setup.sh`` uses the same paths."""

from __future__ import annotations

import os
from pathlib import Path

#: The root folder of the checkout.
ROOT = Path(__file__).resolve().parents[2]
#: Folder of everything that was installed for this checkout and is not part of it.
SETUP = ROOT / ".datagen" / "setup"
#: The release of Label Studio that the tests run with.
LABEL_STUDIO_VERSION = "1.23.2"
#: Folder of Label Studio's own environment; the versions that it requires conflict with ours. A developer may name
#: another folder.
LABEL_STUDIO_VENV = Path(os.environ.get("DATAGEN_LABEL_STUDIO_VENV") or SETUP / f"label-studio-{LABEL_STUDIO_VERSION}")
#: Folder of the demo's servers, data and results.
DEMO = ROOT / ".datagen" / "demo"
