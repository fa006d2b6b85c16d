"""Verdicts, and the review tasks on which people give them. Verdicts are read from Label Studio."""
