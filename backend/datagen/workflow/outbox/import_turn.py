"""The turn of a publication to import tasks into Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from datagen.store.tables.base import now
from datagen.workflow.leased_work import NotYet
from datagen.workflow.services import IMPORT_LOCK, Services

#: Seconds for which a publication waits for its turn. Then its row is put off, so that the worker handles events first.
TURN_WAIT_SECONDS = 3.0
#: Time after which a row is not put off any more: it waits as long as other imports do, and then begins in spite of
#: them. Rows that waited for an outage are all older than this when it ends.
PATIENCE = timedelta(minutes=5)


class ImportTurn:
    """Lets a publication import tasks while no other process does; see ``Services.import_turn``.

    Args:
        services: the services.
        waiting_since: when the row was put off for the first time; None if it was not.
    """

    def __init__(self, services: Services, waiting_since: datetime | None) -> None:
        self._services = services
        self._is_patient = waiting_since is None or now() - waiting_since < PATIENCE
        self._has_imported = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Context manager of one import.

        Raises:
            NotYet: other processes import, and this publication has imported nothing so far.
        """
        if self._has_imported or not self._is_patient:
            self._has_imported = True
            with self._services.import_turn():
                yield
            return
        with self._services.database.one_at_a_time(IMPORT_LOCK, TURN_WAIT_SECONDS) as is_alone:
            if not is_alone:
                raise NotYet
            self._has_imported = True
            yield
