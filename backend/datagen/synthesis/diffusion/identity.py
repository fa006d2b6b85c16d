"""The engine's name and version, which every sample's provenance records."""

from __future__ import annotations

NAME = "diffusion"
#: To be changed whenever the same spec and index produce different bytes.
VERSION = "4"
