"""The OpenAPI document, and whether the API keeps to it whatever it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from datagen.domain.decision import ACTIONS
from datagen.domain.lifecycle import StudyState
from datagen.web.api import bearer
from datagen.web.api.decisions import Action
from datagen.web.download_sending import SendingSlots
from datagen.workflow.handovers.requests import request_download
from datagen.workflow.handovers.wishes import DownloadWish

#: Number of requests that are made up for an operation.
EXAMPLES = 10
#: What schemathesis may send: the document has no examples, and what it shrinks would take longer than the test.
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def document_of(program: Any) -> dict[str, Any]:
    answer = program.client.get("/api/v1/openapi.json")  # needs no token
    assert answer.status_code == 200
    body: dict[str, Any] = answer.json
    return body


def test_the_document_names_every_view(program: Any) -> None:
    document = document_of(program)
    assert document["openapi"] == "3.1.0"
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    views = set()
    for rule in program.app.url_map.iter_rules():
        path = "".join("{" + part + "}" if is_value else part for is_value, part in rule._trace).lstrip("|")
        views |= {(path, method) for method in rule.methods - {"HEAD", "OPTIONS"}}
    assert views - {("/api/v1/openapi.json", "GET")} == described


def test_the_models_of_the_document_are_json_schemas(program: Any) -> None:
    document = document_of(program)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_the_decisions_are_those_of_the_decision_form() -> None:
    assert get_args(Action) == tuple(map(str, ACTIONS))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_api_keeps_to_its_document_whatever_it_is_sent(
    program_in: Callable[[StudyState], Any], mode: GenerationMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "WRONG_TOKENS", "100000 per minute")  # schemathesis sends wrong ones, too
    monkeypatch.setattr(SendingSlots, "take", lambda *_: True)  # schemathesis leaves the responses open
    program = program_in(StudyState.ACCEPTED)
    for limiter in program.app.extensions["limiter"]:
        limiter.enabled = False
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", program.app)
    schema.config.generation.update(modes=[mode])
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == sum(len(methods) for methods in document_of(program)["paths"].values())
    sample = program.study.samples_of(program.study.batches()[0])[0]
    download_id = request_download(program.studio.services, program.study.id, DownloadWish(run=1), "ann@example.com")
    program.studio.settle()
    existing = {"study_id": program.study.id, "version": 1, "number": 1}
    existing |= {"sample_id": sample.id, "download_id": download_id}
    for operation in operations:
        _send_all(operation, mode, program.token, existing if mode.is_positive else {})


def _send_all(operation: Any, mode: GenerationMode, token: str, existing: dict[str, int]) -> None:
    """Send generated requests; ``existing`` has path parameters of rows that exist."""

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: Any) -> None:
        case.path_parameters.update({name: existing[name] for name in existing if name in case.path_parameters})
        # a value of the right form may be unusable: a label without a visible character, a zip that is none
        excluded = [positive_data_acceptance] if operation.method == "post" else []
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, excluded_checks=excluded)

    sent()
