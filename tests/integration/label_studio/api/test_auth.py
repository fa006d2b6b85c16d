"""Both kinds of token work, and a wrong one is refused with the fix."""

from __future__ import annotations

import base64
import json
import time
from contextlib import closing

import pytest

from datagen.errors import LabelStudioError, LabelStudioUnavailable
from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.client import LabelStudio
from stage.label_studio_server import LabelStudio as Server


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.signature"


@pytest.mark.integration
def test_a_legacy_token_is_known_as_such(label_studio: Server) -> None:
    with closing(LabelStudio(label_studio.url, label_studio.token)) as client:
        assert client.token_kind is TokenKind.LEGACY
        assert client.whoami() == label_studio.email


@pytest.mark.integration
def test_a_personal_access_token_is_known_as_such(label_studio: Server) -> None:
    with closing(LabelStudio(label_studio.url, label_studio.personal_token())) as client:
        assert client.token_kind is TokenKind.PERSONAL
        assert client.whoami() == label_studio.email


@pytest.mark.integration
def test_blanks_round_a_pasted_token_do_no_harm(label_studio: Server) -> None:
    with closing(LabelStudio(label_studio.url, f"  {label_studio.token}\n")) as client:
        assert client.whoami() == label_studio.email


@pytest.mark.integration
@pytest.mark.parametrize(
    "token",
    ["f" * 40, jwt(token_type="refresh", exp=time.time() + 1000), "Token abc"],
    ids=["legacy", "personal", "none"],
)
def test_a_wrong_token_names_the_setting_and_not_itself(label_studio: Server, token: str) -> None:
    with (
        closing(LabelStudio(label_studio.url, token)) as client,
        pytest.raises(LabelStudioError, match="LABEL_STUDIO_API_KEY") as refusal,
    ):
        client.whoami()
    assert not isinstance(refusal.value, LabelStudioUnavailable)
    assert token not in str(refusal.value)
