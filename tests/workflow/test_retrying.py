"""How long what failed waits: longer each time, never longer than a minute, and not all at the same moment.

That a refusal ends and an absence does not is tested with the work itself, in ``test_events`` and ``test_telling``.
"""

from __future__ import annotations

import pytest

from datagen.workflow.retrying import LONGEST_WAIT, wait_after

#: Enough that two draws of the whole of them do not look alike.
MANY = 200


@pytest.mark.parametrize(
    ("attempt", "full"), [(1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0), (6, LONGEST_WAIT), (10_000, LONGEST_WAIT)]
)
def test_a_wait_is_between_half_and_the_whole_of_what_doubles_each_time(attempt: int, full: float) -> None:
    waits = [wait_after(attempt) for _ in range(MANY)]
    assert full / 2 <= min(waits) < max(waits) <= full


def test_rows_that_failed_together_do_not_come_back_together() -> None:
    assert len({round(wait_after(6)) for _ in range(MANY)}) > LONGEST_WAIT / 4
