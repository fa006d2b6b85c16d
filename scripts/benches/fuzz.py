"""``scripts/bench fuzz``: malformed data wherever data enters from outside.

Webhooks with damaged bodies and unusual headers go through the whole web application. It may refuse them, but must
never answer 5xx. Damaged annotations go through the parsers of events, regions and answers. These may raise Datagen's
own errors and no others. All data come from a seed, so a run can be repeated; a failed case is named by its number."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flask import Flask

from datagen.errors import DatagenError
from datagen.label_studio.api.webhook_payload import WebhookEvent
from datagen.label_studio.mapping import form_answers
from datagen.label_studio.mapping.regions import canvas_areas, concept_regions
from datagen.label_studio.projects.provisioning import SECRET_HEADER
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.web.app import create_app
from stage.nonsense import Nonsense
from stage.progress import print_line

#: Share of the cases that go through the web application.
WEBHOOKS = 0.2

_REGION = {"id": "a", "to_name": "image", "original_width": 64, "original_height": 48, "image_rotation": 0}
_BOX = {"x": 10.5, "y": 20, "width": 30, "height": 25, "rotation": 15, "rectanglelabels": ["dent"]}
_OUTLINE = {"points": [[10, 10], [60, 12], [40, 70], [12, 50]], "closed": True, "polygonlabels": ["dent"]}
_STROKE = {"format": "rle", "rle": [0, 0, 48, 0, 255, 128, 7, 7, 7, 0, 1], "brushlabels": ["dent"]}
_AREA = {**_OUTLINE, "polygonlabels": ["area"]}
DRAWN: list[dict[str, Any]] = [
    {**_REGION, "from_name": "concept", "type": "rectanglelabels", "value": _BOX},
    {**_REGION, "from_name": "outline", "type": "polygonlabels", "value": _OUTLINE},
    {**_REGION, "from_name": "brush", "type": "brushlabels", "value": _STROKE},
    {**_REGION, "from_name": "canvas", "type": "polygonlabels", "value": _AREA},
]
FILLED: list[dict[str, Any]] = [
    {"from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["bad"]}},
    {"from_name": "reasons", "to_name": "image", "type": "choices", "value": {"choices": ["too small"]}},
    {"from_name": "comment", "to_name": "image", "type": "textarea", "value": {"text": ["hardly there"]}},
    {"from_name": "use", "to_name": "image", "type": "choices", "value": {"choices": ["exclude"]}},
    {"from_name": "action", "to_name": "summary", "type": "choices", "value": {"choices": ["approve"]}},
    {"from_name": "count", "to_name": "summary", "type": "number", "value": {"number": 200}},
    {"from_name": "name", "to_name": "summary", "type": "textarea", "value": {"text": ["first run"]}},
]
EVENT: dict[str, Any] = {
    "action": "ANNOTATION_UPDATED",
    "project": {"id": 3, "title": "x", "updated_at": "2026-01-01T10:00:00Z"},
    "task": {"id": 7, "data": {"image": "/x.png"}},
    "annotation": {"id": 8, "task": 7, "updated_at": "2026-01-01T10:00:00.123456Z", "result": DRAWN[:2] + FILLED[:2]},
}
_LABELS = ("dent", "scratch")
_PARSERS: dict[str, tuple[Callable[[Any], object], Any]] = {
    "concepts": (lambda regions: concept_regions(regions, 64, 48, _LABELS), DRAWN),
    "canvases": (lambda regions: canvas_areas(regions, 64, 48, _LABELS), DRAWN),
    "verdict": (form_answers.verdict, FILLED),
    "decision": (form_answers.decision, FILLED),
    "background": (form_answers.background_use, FILLED),
    "event": (WebhookEvent.parse, EVENT),
}


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if every case was handled."""
    parser = argparse.ArgumentParser(prog="scripts/bench fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many (100,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the nonsense (1)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args(arguments)
    webhooks = int(chosen.cases * WEBHOOKS)
    began = time.monotonic()
    failed: list[str] = []
    outcomes: Counter[str] = fuzz_parsers(chosen.cases - webhooks, chosen.seed, failed)
    print_line(f"parsers: {dict(outcomes)}")
    with tempfile.TemporaryDirectory(prefix="datagen-fuzz-") as folder:
        app, secret = application(Path(folder))
        statuses = fuzz_webhook(app, secret, webhooks, chosen.seed, failed)
    print_line(f"webhooks: {dict(statuses)}")
    figures = {
        "cases": outcomes.total() + statuses.total(),
        "failed": len(failed),
        "parsers": dict(outcomes),
        "webhooks": dict(statuses),
        "seconds": round(time.monotonic() - began, 1),
        "seed": chosen.seed,
    }
    for line in failed[:20]:
        print_line(line)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1))
    return 1 if failed else 0


def application(folder: Path) -> tuple[Flask, str]:
    """Return the web application, with its own database and without Redis, and the secret of its webhooks."""
    os.environ |= {
        "DATAGEN_DATA_DIR": str(folder),
        "DATAGEN_WEBHOOKS_PER_SECOND": "1000000",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "LOG_LEVEL": "ERROR",
    }
    settings = Settings(_env_file=None)
    database = Database(settings.resolved_database_url)
    database.upgrade()
    database.close()
    settings.make_missing_secrets()
    return create_app(settings), settings.secret_of_webhooks


def fuzz_parsers(cases: int, seed: int, failed: list[str]) -> Counter[str]:
    """Pass damaged annotations and events to every parser; return the counts of outcomes.

    A sentence is added to ``failed`` for each error that is not Datagen's own.
    """
    outcomes: Counter[str] = Counter()
    for number in range(cases):
        nonsense = Nonsense(seed * 1_000_003 + number)
        name = nonsense.random.choice([*_PARSERS])
        parse, example = _PARSERS[name]
        given = nonsense.harmed(example) if nonsense.random.random() < 0.95 else nonsense.value()
        if name != "event":
            given = given if isinstance(given, list) else [given]
        elif not isinstance(given, dict):
            given = nonsense.body(example)
        try:
            parse(given)
            outcomes["understood"] += 1
        except DatagenError:
            outcomes["refused"] += 1
        except Exception as fault:
            outcomes["got through"] += 1
            failed.append(f"parser {name}, case {number}: {type(fault).__name__}: {fault}: {str(given)[:500]}")
    return outcomes


def fuzz_webhook(app: Flask, secret: str, cases: int, seed: int, failed: list[str]) -> Counter[str]:
    """Send damaged webhooks to the application; return the counts of status codes.

    A sentence is added to ``failed`` for each status of 500 or above.
    """
    statuses: Counter[str] = Counter()
    app.testing = False  # a fault is to become a 500, as it does for people
    with app.test_client() as client:
        for number in range(cases):
            nonsense = Nonsense(seed * 2_000_003 + number)
            body = nonsense.body({**EVENT, "annotation": {**EVENT["annotation"], "id": 1 + number}})
            headers = _headers(nonsense, secret)
            status = client.post("/webhook", data=body, headers=headers).status_code
            statuses[str(status)] += 1
            if status >= 500:
                failed.append(f"webhook, case {number}: {status}: {headers} {body[:500]!r}")
    return statuses


def _headers(nonsense: Nonsense, secret: str) -> dict[str, str]:
    headers = {SECRET_HEADER: secret, "Content-Type": "application/json"}
    if nonsense.random.random() < 0.1:
        odd = "".join(character for character in nonsense.text() if character.isprintable() and ord(character) < 256)
        name = nonsense.random.choice((SECRET_HEADER, "Content-Type", "Authorization", "X-Forwarded-For", "Accept"))
        headers[name] = odd if name != "Authorization" else f"Basic {odd}"
    return headers
