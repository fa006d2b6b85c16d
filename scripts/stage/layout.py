"""Paths that the set-up uses in a checkout; ``scripts/setup.sh`` has the same ones."""

from __future__ import annotations

import os
from pathlib import Path

#: The checkout.
ROOT = Path(__file__).resolve().parents[2]
#: What was installed for this checkout and is no part of it.
SETUP = ROOT / ".datagen" / "setup"
#: Label Studio's release that everything here is tested with.
LABEL_STUDIO_VERSION = "1.23.2"
#: Label Studio's own environment: its pins cannot live with ours. A developer may point to another.
LABEL_STUDIO_VENV = Path(os.environ.get("DATAGEN_LABEL_STUDIO_VENV") or SETUP / f"label-studio-{LABEL_STUDIO_VERSION}")
#: The demo's servers, data and results.
DEMO = ROOT / ".datagen" / "demo"
