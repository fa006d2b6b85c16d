"""Text that no database, JSON or UTF-8 can hold is replaced at the entrance, and nothing else is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.domain.foreign_text import DEEPEST, plain, plain_json, read_json, whole_number

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(categories=["L", "Cs", "Cc", "So"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\ud800b", "a?b"),
        ("\udfff", "?"),
        ("a\x00b", "a?b"),
        ("Ü 中 😀 \x07", "Ü 中 😀 \x07"),
        ("", ""),
    ],
)
def test_half_characters_and_nul_become_question_marks(text: str, wanted: str) -> None:
    assert plain(text) == wanted


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ('{"a\\ud800": ["\\u0000x", {"b": "\\udc00"}]}', {"a?": ["?x", {"b": "?"}]}),
        ("[NaN, -Infinity, 1e999, 1.5, true, null]", [None, None, None, 1.5, True, None]),
        ("[" + "9" * 400 + ", 12]", [None, 12]),
        ('"\\ud83d\\ude00"', "😀"),
        ("\ufeff[1]".encode(), [1]),
        ('["ü"]'.encode("utf-16"), ["ü"]),
        (b'["\xed\xa0\x80"]', ["?"]),
    ],
)
def test_json_from_outside_is_made_plain(body: bytes | str, wanted: Any) -> None:
    read = read_json(body)
    if isinstance(wanted, str) or body[:2] == b'["':
        read = json.loads(json.dumps(read).replace("???", "?"))  # one for each byte of what was no character
    assert read == wanted


def test_values_nested_too_deep_are_dropped_and_those_beside_them_are_kept() -> None:
    read = read_json('{"beside": 1, "deep": ' + "[" * 200 + "7" + "]" * 200 + "}")
    assert read["beside"] == 1
    depth, inner = 0, read["deep"]
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0] if inner else None
    assert depth == DEEPEST - 1


@pytest.mark.parametrize("body", ["[" * 100_000, "", "{", b"\xff\xfe\x00"])
def test_invalid_json_is_refused_with_a_sentence(body: bytes | str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_json(body)


@given(JSON)
def test_cleaned_text_can_be_encoded_as_utf_8_and_strict_json(value: Any) -> None:
    cleaned = plain_json(value)
    text = json.dumps(cleaned, ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in text
    assert json.loads(text.encode("utf-8")) == cleaned
    assert plain_json(cleaned) == cleaned


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("500", 500)])
def test_number_of_digits_is_read(text: str, number: int) -> None:
    assert whole_number(text, 500) == number


@pytest.mark.parametrize("text", ["", " 7", "-7", "+7", "7.0", "1e2", "٧", "²", "501", "0007", "9" * 5_000])
def test_text_that_is_no_number_up_to_the_largest_is_none(text: str) -> None:
    assert whole_number(text, 500) is None
