"""Studies to synthesize from, as fixtures."""

from synthesis_studies import disc, plates, rasterized, study

__all__ = ["disc", "plates", "rasterized", "study"]
