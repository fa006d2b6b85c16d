"""Verdicts, which are read from Label Studio, and the review tasks on which they are given."""
