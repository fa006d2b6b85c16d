"""Properties are checked without a stopwatch: on a busy machine any example may take a while."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
