"""Verdicts: the words on the review form are the values that are stored; changing one orphans old verdicts."""

from __future__ import annotations

from datagen.domain.verdict import Opinion, Reason, Verdict


def test_the_words_on_the_form() -> None:
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


def test_a_choice_read_from_the_form_is_a_reason() -> None:
    assert Reason("edges show") is Reason.EDGES_SHOW


def test_the_order_of_reasons_is_nothing() -> None:
    one = Verdict(opinion=Opinion.BAD, reasons=frozenset([Reason.TOO_SMALL, Reason.MASK_OFF]))
    other = Verdict(opinion=Opinion.BAD, reasons=frozenset([Reason.MASK_OFF, Reason.TOO_SMALL]))
    assert one == other
    assert hash(one) == hash(other)


def test_an_opinion_alone_is_a_verdict() -> None:
    assert Verdict(opinion=Opinion.GOOD) == Verdict(opinion=Opinion.GOOD, reasons=frozenset(), comment="")
