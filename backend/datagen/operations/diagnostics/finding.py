"""The exception of a failed check."""

from __future__ import annotations


class CheckFailed(Exception):
    """A failed check; the text names the problem and its fix."""
