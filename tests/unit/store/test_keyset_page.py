from __future__ import annotations

import pytest

from datagen.store.keyset_page import keyset_page


@pytest.mark.parametrize(
    ("rows", "shown", "next_key"),
    [([], [], None), ([9, 8], [9, 8], None), ([9, 8, 7], [9, 8, 7], None), ([9, 8, 7, 6], [9, 8, 7], 7)],
    ids=["no row", "fewer rows than a page", "one full page", "a further page"],
)
def test_next_page_begins_after_the_last_row_if_there_are_more(
    rows: list[int], shown: list[int], next_key: int | None
) -> None:
    assert keyset_page(rows, 3, lambda row: row) == (shown, next_key)
