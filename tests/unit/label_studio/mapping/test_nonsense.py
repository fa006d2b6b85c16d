"""A small budget of ``scripts/bench fuzz``: malformed data is refused with a sentence, and nothing else happens."""

from __future__ import annotations

from benches.fuzz import fuzz_parsers
from datagen.label_studio.api.webhook_payload import WebhookEvent
from datagen.label_studio.mapping.form_answers import verdict


def test_no_nonsense_gets_through_a_parser() -> None:
    failed: list[str] = []
    reported = fuzz_parsers(2000, 7, failed)
    assert failed == []
    assert min(reported["understood"], reported["refused"]) > 50  # both ways were gone


def test_half_a_character_and_nul_reach_no_database() -> None:
    """Found by the bench: JSON can hold text that no database stores; one such comment blocked its project."""
    assert WebhookEvent.parse(b'{"action": "\\ud800", "project": {"id": 3}}').action == "?"
    choice = {"from_name": "verdict", "type": "choices", "value": {"choices": ["good"]}}
    message = verdict([choice, {"from_name": "comment", "type": "textarea", "value": {"text": ["so \ud800 so \x00"]}}])
    assert message is not None
    assert message.comment == "so ? so ?"
