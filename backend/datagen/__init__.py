"""Datagen for Label Studio: synthesize a rare object from a handful of photos, judged inside Label Studio.

The rooms, and which way the arrows go, are described in ``CONTRIBUTING.md``.
"""

__version__ = "0.1.0"
