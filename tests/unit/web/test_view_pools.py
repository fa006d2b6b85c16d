"""Which threads serve which view."""

from __future__ import annotations

import pytest

from datagen.web.buffering import MAX_CONNECTIONS
from datagen.web.view_pools import AT_ONCE, POOLS, pool_of


@pytest.mark.parametrize(
    ("path", "pool"),
    [
        ("/webhook", "webhook"),
        ("/", AT_ONCE),
        ("/health", AT_ONCE),
        ("/images/a.png", "pictures"),
        ("/studio", "pages"),
        ("/studio/", "pages"),
        ("/studio/studies/1/round/2", "pages"),
        ("/studio/pictures/1/sample/2/small", "thumbnails"),
        ("/studio/log-in", "log-in"),
        ("/studio/streams/1/run/2", "streams"),
        ("/studio/downloads/1/2", "downloads"),
        ("/api", "api"),
        ("/api/v1/studies", "api"),
        ("/api/v1/studies/1/batches/run/1/downloads", "api"),
        ("/api/v1/downloads/1/2", "downloads"),
        ("/api/v1/downloadsx/1/2", "api"),
        ("/api/v2/downloads/1/2", "api"),
        ("/studio/verdicts/1/2", "verdicts"),
        ("/studiox", AT_ONCE),
        ("/x/studio", AT_ONCE),
    ],
)
def test_pages_pictures_verdicts_log_ins_and_the_api_have_threads_of_their_own(path: str, pool: str) -> None:
    assert pool_of(path) == pool


@pytest.mark.parametrize(
    ("path", "pool"),
    [
        ("/studio/studies/1/decide", "actions"),
        ("/studio/log-in", "log-in"),
        ("/webhook", "webhook"),
        ("/api/v1/studies", "api"),
    ],
)
def test_what_is_sent_to_pages_has_threads_of_its_own(path: str, pool: str) -> None:
    assert pool_of(path, "POST") == pool


def test_all_requests_that_wait_have_a_connection() -> None:
    assert sum(pool.waiting for name, pool in POOLS.items() if name != AT_ONCE) < MAX_CONNECTIONS
