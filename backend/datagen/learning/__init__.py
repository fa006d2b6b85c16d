"""Refinement: new engine parameters from verdicts."""
