"""Both kinds of token work, and a wrong one is refused with the fix."""

from __future__ import annotations

import base64
import json
import time

import httpx
import pytest

from datagen.errors import LabelStudioError, LabelStudioUnavailable
from datagen.label_studio.api.client import LabelStudio


def jwt(**claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.signature"


def studio(answer: httpx.MockTransport, token: str) -> LabelStudio:
    return LabelStudio("http://studio", token, transport=answer, read_attempts=1)


@pytest.mark.parametrize("token", ["", "  ", "clé…", "two\nlines"])
def test_what_cannot_be_a_token_is_refused_at_once(token: str) -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_API_KEY"):
        LabelStudio("http://studio", token)


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        (jwt(token_type="access", exp=time.time() + 86_400), "short-lived access token"),
        (jwt(token_type="refresh", exp=time.time() - 100), "has expired"),
        (jwt(token_type="refresh", exp=time.time() + 86_400), "was revoked"),
    ],
    ids=["an access token", "an expired one", "a revoked one"],
)
def test_a_refused_personal_token_says_why(token: str, sentence: str) -> None:
    refuse = httpx.MockTransport(lambda request: httpx.Response(401, json={"detail": "Token is invalid"}))
    with pytest.raises(LabelStudioError, match=sentence):
        studio(refuse, token).whoami()


def test_legacy_tokens_that_are_disabled_are_named() -> None:
    message = {
        "detail": "Authentication token no longer valid: legacy token authentication has been disabled for this org"
    }
    refuse = httpx.MockTransport(lambda request: httpx.Response(401, json=message))
    with pytest.raises(LabelStudioError, match="legacy tokens are disabled"):
        studio(refuse, "a" * 40).whoami()


class TokenServer:
    """Gives an access token of a certain life on each refresh, and takes only the newest."""

    def __init__(self, life: float) -> None:
        self.life = life
        self.given: list[str] = []
        self.forget = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/token/refresh":
            now = time.time()
            self.given.append(jwt(token_type="access", iat=now, exp=now + self.life, n=len(self.given)))
            return httpx.Response(200, json={"access": self.given[-1]})
        if self.forget or request.headers["Authorization"] != f"Bearer {self.given[-1]}":
            self.forget = False
            return httpx.Response(401, json={"detail": "Given token not valid"})
        return httpx.Response(200, json={"email": "who@example.com"})


def test_an_access_token_is_kept_while_it_lives() -> None:
    server = TokenServer(life=300)
    client = studio(httpx.MockTransport(server), jwt(token_type="refresh"))
    assert [client.whoami() for _ in range(3)] == ["who@example.com"] * 3
    assert len(server.given) == 1


def test_an_access_token_is_renewed_before_it_ends() -> None:
    server = TokenServer(life=20)  # less than the margin: good for a second at most
    client = studio(httpx.MockTransport(server), jwt(token_type="refresh"))
    client.whoami()
    deadline = time.monotonic() + 5
    while len(server.given) == 1 and time.monotonic() < deadline:
        client.whoami()
    assert len(server.given) == 2


def test_an_access_token_that_ended_early_is_renewed_and_the_request_sent_again() -> None:
    server = TokenServer(life=300)
    client = studio(httpx.MockTransport(server), jwt(token_type="refresh"))
    client.whoami()
    server.forget = True
    assert client.whoami() == "who@example.com"
    assert len(server.given) == 2


def test_a_server_that_is_starting_is_no_wrong_token() -> None:
    starting = httpx.MockTransport(lambda request: httpx.Response(502, text="Bad Gateway"))
    for token in ("a" * 40, jwt(token_type="refresh")):
        with pytest.raises(LabelStudioUnavailable):
            studio(starting, token).whoami()
