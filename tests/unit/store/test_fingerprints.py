"""Fingerprints of shared secrets: changed and foreign ones are recognized, and no row contains a secret."""

from __future__ import annotations

from datagen.store.fingerprints import SharedSecret


def secret(*values: str) -> SharedSecret:
    return SharedSecret("signing_key", values)


def test_a_secret_is_not_shown_when_it_is_printed() -> None:
    assert "sesame" not in repr(secret("sesame"))
