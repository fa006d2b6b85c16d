"""Name and version under which the engine is registered, and which every sample's provenance records."""

from __future__ import annotations

NAME = "diffusion"
#: Changes whenever the same spec and index give other bytes.
VERSION = "1"
