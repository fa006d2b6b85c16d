"""The secret in a study's webhooks: ``<salt>.<HMAC-SHA256>``, derived from the installation's secret and a salt.

Label Studio shows a webhook's headers to every member of its organization, so a secret in them is known to all of them.
Each study has its own secret, which authorizes events of that study only. The secret contains the study's salt, so it
is verified without a query to the database.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

#: The salt of studies whose webhooks contain the installation's secret itself, as earlier releases created them.
SHARED = ""
#: Longest secret in a header, characters; a longer one is rejected without a comparison.
LONGEST = 512


@dataclass(frozen=True, slots=True)
class WebhookClaim:
    """A verified secret of a webhook; ``salt`` identifies its study."""

    salt: str


def new_salt() -> str:
    """Return a new random salt for a study."""
    return secrets.token_hex(16)


def study_secret(master: str, salt: str) -> str:
    """Return the secret in the webhooks of the study with this salt."""
    return f"{salt}.{_mac(master, salt)}" if salt != SHARED else master


def read_claim(given: str, masters: Sequence[str]) -> WebhookClaim | None:
    """Return the claim of a header's value; None if the value is not a valid secret. Compares in constant time.

    ``masters`` are the installation's accepted secrets: the current one and, during a change, the previous one.
    """
    if not given or len(given) > LONGEST:
        return None
    salt, _, mac = given.rpartition(".")
    matches_study = sum([hmac.compare_digest(mac.encode(), _mac(master, salt).encode()) for master in masters])
    matches_master = sum([hmac.compare_digest(given.encode(), master.encode()) for master in masters])
    if salt != SHARED and matches_study:
        return WebhookClaim(salt)
    return WebhookClaim(SHARED) if matches_master else None


def _mac(master: str, salt: str) -> str:
    return hmac.new(master.encode(), b"datagen.webhook." + salt.encode(), hashlib.sha256).hexdigest()
