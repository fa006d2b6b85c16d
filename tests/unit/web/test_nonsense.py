"""A small budget of ``scripts/bench fuzz``: no body posted to the webhook causes an internal error."""

from __future__ import annotations

from pathlib import Path

import pytest

from benches.fuzz import application, fuzz_webhook


def test_no_nonsense_makes_the_webhook_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATAGEN_DATA_DIR", "DATAGEN_WEBHOOKS_PER_SECOND", "REDIS_URL", "LOG_LEVEL"):
        monkeypatch.setenv(name, "")  # given back at the end
    app, secret = application(tmp_path)
    failed: list[str] = []
    statuses = fuzz_webhook(app, secret, 300, 7, failed)
    assert failed == []
    assert {"201", "400", "401"} <= set(statuses)
