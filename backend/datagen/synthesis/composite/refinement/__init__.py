"""Refinement: the next spec's parameters from the verdicts on a preview round."""
