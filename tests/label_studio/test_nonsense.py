"""A small budget of ``scripts/bench fuzz``: nonsense is refused in a sentence of ours, and nothing else happens."""

from __future__ import annotations

from benches.fuzz import fuzz_parsers


def test_no_nonsense_gets_through_a_parser() -> None:
    failed: list[str] = []
    told = fuzz_parsers(2000, 7, failed)
    assert failed == []
    assert min(told["understood"], told["refused"]) > 50  # both ways were gone
