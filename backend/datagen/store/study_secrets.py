"""The secret in a study's webhooks: derived from the installation's and the study's salt, ``<salt>.<HMAC-SHA256>``.

Label Studio shows a webhook's headers to every member of its organization, so that a secret in them is no secret among
them: one that is a study's own opens that study's door alone. It says by itself whose it is, and is checked without a
look at the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

#: The salt of studies whose webhooks carry the installation's secret itself, as an earlier release made them.
SHARED = ""
#: No secret in a header is longer; a longer one is not looked at.
LONGEST = 512


@dataclass(frozen=True, slots=True)
class WebhookClaim:
    """A webhook's secret that is genuine; ``salt`` says which study's it is."""

    salt: str


def new_salt() -> str:
    """A salt for a study."""
    return secrets.token_hex(16)


def study_secret(master: str, salt: str) -> str:
    """The secret in the webhooks of the study with this salt."""
    return f"{salt}.{_mac(master, salt)}" if salt != SHARED else master


def read_claim(given: str, masters: Sequence[str]) -> WebhookClaim | None:
    """What a header's value proves; None if it is no secret of ours. Compared in constant time.

    ``masters`` are the installation's secrets that are let in: the current one and, during a change, the one before.
    """
    if not given or len(given) > LONGEST:
        return None
    salt, _, mac = given.rpartition(".")
    fits_study = sum([hmac.compare_digest(mac.encode(), _mac(master, salt).encode()) for master in masters])
    fits_all = sum([hmac.compare_digest(given.encode(), master.encode()) for master in masters])
    if salt != SHARED and fits_study:
        return WebhookClaim(salt)
    return WebhookClaim(SHARED) if fits_all else None


def _mac(master: str, salt: str) -> str:
    return hmac.new(master.encode(), b"datagen.webhook." + salt.encode(), hashlib.sha256).hexdigest()
