"""How a look at a part ends when something is wrong."""

from __future__ import annotations


class CheckFailed(Exception):
    """A finding that is bad; its text says what is wrong and how to mend it."""
