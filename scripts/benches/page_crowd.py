"""People who browse the studio's pages while webhooks arrive, for ``scripts/bench pages``."""

from __future__ import annotations

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from html import unescape
from multiprocessing import get_context
from typing import Any

import httpx

from benches.page_visits import PATIENCE_S
from stage.processes import wait_until

#: Longest time until each person has loaded a first page, seconds.
_BEGIN_S = 120.0
#: Number of people, of streams of events and of downloads that are open at the same time.
PEOPLE, STREAMS, DOWNLOADS = 20, 6, 3
#: Seconds between two pages of a person, and number of pictures that are loaded with a page.
PAGE_EVERY_S, PICTURES = 1.0, 12
#: Bytes of a download that are read at a time, and seconds between two readings: 1.3 MB a second.
_PIECE, _PIECE_EVERY_S = 2**16, 0.05
_PICTURE = re.compile(r'<img src="([^"]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What people do: they open these pages in random order, and hold streams and downloads open."""

    url: str
    cookies: Mapping[str, str]
    pages: tuple[str, ...]
    stream: str
    download: str


@dataclass
class _Activity:
    """What the people did so far."""

    over: threading.Event = field(default_factory=threading.Event)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


@contextmanager
def browsing(crowd: Crowd) -> Iterator[dict[str, Any]]:
    """Context manager in which people browse, in a process of their own.

    It yields a dictionary that has the numbers of their requests, by what was requested, once the block has ended.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_browse, args=(crowd, theirs), daemon=True)
    process.start()
    done: dict[str, Any] = {}
    try:
        ours.recv()  # every person has opened a page
        yield done
        ours.send("end")
        done.update(ours.recv())
    finally:
        process.join(2 * PATIENCE_S)
        process.kill()


def _browse(crowd: Crowd, pipe: Any) -> None:
    activity = _Activity()
    parts = [
        *((_person, number) for number in range(PEOPLE)),
        *((_stream, number) for number in range(STREAMS)),
        *((_download, number) for number in range(DOWNLOADS)),
    ]
    threads = [threading.Thread(target=part, args=(crowd, activity, number), daemon=True) for part, number in parts]
    for thread in threads:
        thread.start()
    wait_until(lambda: activity.counts["pages"] >= PEOPLE, _BEGIN_S, "The first page of each person", every=0.05)
    began, before = time.monotonic(), Counter(activity.counts)
    pipe.send("begun")
    pipe.recv()
    seconds = time.monotonic() - began
    counts = Counter(activity.counts)
    activity.over.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    counts.subtract(before)
    pipe.send(
        {
            "pages_a_second": round(counts["pages"] / seconds, 1),
            "pictures_a_second": round(counts["pictures"] / seconds, 1),
            "page_p50_ms": round(1000 * sorted(activity.seconds)[len(activity.seconds) // 2], 1),
            **{name: number for name, number in counts.items() if name not in ("pages", "pictures")},
        }
    )


def _client(crowd: Crowd) -> httpx.Client:
    return httpx.Client(base_url=crowd.url, cookies=dict(crowd.cookies), timeout=PATIENCE_S)


def _person(crowd: Crowd, activity: _Activity, number: int) -> None:
    """Open a page each second with some of its pictures."""
    draws = random.Random(number)  # noqa: S311 - not for secrets
    with _client(crowd) as client:
        activity.over.wait(draws.random() * PAGE_EVERY_S)
        while not activity.over.is_set():
            began = time.monotonic()
            page = client.get(draws.choice(crowd.pages))
            activity.seconds.append(time.monotonic() - began)
            _note(activity, "pages", page)
            shown = [unescape(address) for address in _PICTURE.findall(page.text)]
            for address in draws.sample(shown, min(PICTURES, len(shown))):
                _note(activity, "pictures", client.get(address))
            activity.over.wait(max(0.0, PAGE_EVERY_S - (time.monotonic() - began)))


def _stream(crowd: Crowd, activity: _Activity, _number: int) -> None:
    """Hold a stream of events open, and open the next one when it ends."""
    with _client(crowd) as client:
        while not activity.over.is_set():
            with client.stream("GET", crowd.stream) as response:
                _note(activity, "streams", response)
                for _ in response.iter_raw():
                    if activity.over.is_set():
                        return
            activity.over.wait(PAGE_EVERY_S)


def _download(crowd: Crowd, activity: _Activity, _number: int) -> None:
    """Read a download slowly, and begin the next one when it ends."""
    with _client(crowd) as client, suppress(httpx.RemoteProtocolError):
        while not activity.over.is_set():
            with client.stream("GET", crowd.download) as response:
                _note(activity, "downloads", response)
                for _ in response.iter_raw(_PIECE):
                    if activity.over.wait(_PIECE_EVERY_S):
                        return


def _note(activity: _Activity, transfer: str, response: httpx.Response) -> None:
    activity.counts[transfer if response.is_success else f"{transfer} refused with {response.status_code}"] += 1
