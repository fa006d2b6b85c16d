"""Verdicts: the words on the review form are the stored values; a changed word would make old rows unreadable."""

from __future__ import annotations

from datagen.domain.verdict import Opinion, Reason


def test_stored_words_do_not_change() -> None:
    assert [opinion.value for opinion in Opinion] == ["good", "bad"]
    assert [reason.value for reason in Reason] == [
        "cannot be seen",
        "too strong",
        "too small",
        "too large",
        "wrong place",
        "wrong direction",
        "does not look like it",
        "edges show",
        "label is off",
    ]
