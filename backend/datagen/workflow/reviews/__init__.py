"""Verdicts: reading them from Label Studio, and the review tasks that ask for them."""
