"""Fingerprints of shared secrets: a change is known as one, a stranger as one, and no row holds a secret."""

from __future__ import annotations

from datagen.store.fingerprints import SharedSecret


def secret(*values: str) -> SharedSecret:
    return SharedSecret("signing_key", values)


def test_a_secret_is_not_shown_when_it_is_printed() -> None:
    assert "sesame" not in repr(secret("sesame"))
