"""Checks of what all processes must share: the schema, the secrets, the image store's mark.

Each check takes the settings and returns a good finding, or raises ``CheckFailed``.
"""

from __future__ import annotations

from contextlib import closing

from datagen.entrypoints.installation import exposed, image_store_mismatch, mismatches
from datagen.operations.diagnostics.finding import CheckFailed
from datagen.settings import Settings
from datagen.store.database import Database, schema_revisions


def check_schema(settings: Settings) -> str:
    """Check that the schema is this version's; return its revision."""
    with closing(Database(settings.resolved_database_url)) as database:
        database.check_schema()
    return f"revision {schema_revisions()[-1]}"


def check_secrets(settings: Settings) -> str:
    """Check that this machine has the installation's secrets."""
    with closing(Database(settings.resolved_database_url)) as database:
        if sentences := mismatches(settings, database):
            raise CheckFailed("; ".join(sentences))
    return "this machine has the installation's"


def check_exposure(settings: Settings) -> str:
    """Check that the current webhook secret itself was never sent in a webhook, as earlier releases did."""
    with closing(Database(settings.resolved_database_url)) as database:
        if exposed(database):
            raise CheckFailed(
                "an earlier release of Datagen sent it with every webhook, where each member of Label Studio can read "
                "it; it works. Change it as docs/security.md says under “Changing secrets”"
            )
    return "each study's webhooks have a secret derived from it"


def check_mark(settings: Settings) -> str:
    """Check that the image store is the one that the installation uses, by its mark."""
    with closing(Database(settings.resolved_database_url)) as database:
        if (sentence := image_store_mismatch(settings, database)) is not None:
            raise CheckFailed(sentence)
    return "it is the installation's"
