"""Webhook secrets of studies: each proves one salt, and none can be made without the installation's secret."""

from __future__ import annotations

import pytest

from datagen.store.study_secrets import LONGEST, SHARED, WebhookClaim, new_salt, read_claim, study_secret


def test_a_studys_secret_proves_its_salt_and_no_other() -> None:
    first, second = new_salt(), new_salt()
    given = study_secret("master", first)
    assert read_claim(given, ["master"]) == WebhookClaim(first)
    assert read_claim(given.replace(first, second), ["master"]) is None
    assert read_claim(study_secret("another", first), ["master"]) is None
    assert "master" not in given


def test_secrets_derived_from_the_previous_one_are_accepted_during_the_change() -> None:
    salt = new_salt()
    assert read_claim(study_secret("old", salt), ["new", "old"]) == WebhookClaim(salt)
    assert read_claim(study_secret("old", salt), ["new"]) is None


def test_the_secret_that_all_studies_shared_is_known_as_such() -> None:
    assert study_secret("master", SHARED) == "master"
    assert read_claim("master", ["other", "master"]) == WebhookClaim(SHARED)
    assert read_claim("mas.ter", ["mas.ter"]) == WebhookClaim(SHARED)


@pytest.mark.parametrize("given", ["", ".", "x", "ä", ".".join("ab"), "x" * (LONGEST + 1), "\x00." * 20])
def test_anything_else_is_no_secret(given: str) -> None:
    assert read_claim(given, ["master", "older"]) is None


def test_without_a_secret_of_the_installation_every_claim_is_refused() -> None:
    assert read_claim("", []) is None
    assert read_claim(study_secret("", "salt"), []) is None
