"""Requests to the studio's pages for ``scripts/bench pages``: a person with a session, and what their pages cost."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from benches.attack_measures import descendants
from benches.large_study import LargeStudy
from stage.label_studio_server import LabelStudio

#: Time limit of a request, seconds.
PATIENCE_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_FORM_TOKEN = re.compile(r'name="form_token" value="(\w+)"')


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of ``values`` does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def log_in(url: str, person: LabelStudio) -> dict[str, str]:
    """Log in to the pages as a person; return the cookies of the session."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        form = client.get("/studio/log-in").raise_for_status().text
        token = _FORM_TOKEN.search(form)
        if token is None:
            raise AssertionError("the log-in page has no form")
        given = {"form_token": token[1], "email": person.email, "password": person.password}
        answer = client.post("/studio/log-in", data=given)
        if answer.status_code != httpx.codes.SEE_OTHER:
            raise AssertionError(f"{person.email} was not logged in: {answer.status_code}")
        return dict(client.cookies)


def paths_of(study: LargeStudy) -> dict[str, str]:
    """Return the addresses of the pages, by their names in the figures."""
    root = f"/studio/studies/{study.id}"
    api = f"/api/v1/studies/{study.id}"
    run = f"{root}/run/{study.run}"
    return {
        "home": "/studio/",
        "study": root,
        "inputs": f"{root}/inputs/concept",
        "round gallery": f"{root}/round/{study.round}",
        "review sheet": f"{root}/round/{study.round}/review",
        "versions compared": f"{root}/compare",
        "run list": "/studio/runs",
        "dataset view": run,
        "table, largest first": f"{run}?sort=-size",
        "table, filtered": f"{run}?min_size=30&place=centre&background=photo+7.png&sort=instances",
        "table, by label": f"{run}?label=scratch&verdict=unjudged",
        "table, page in the middle": f"{run}?sort=size&after=50000",
        "sample": f"{root}/samples/{study.sample_id}",
        "audit log": f"{root}/history",
        "API: studies": "/api/v1/studies",
        "API: versions": f"{api}/versions",
        "API: batches": f"{api}/batches",
        "API: samples": f"{api}/batches/run/{study.run}/samples?cursor=50000",
        "API: samples, filtered": f"{api}/batches/run/{study.run}/samples?judgement=good",
    }


def processor_seconds(pids: Sequence[int]) -> float:
    """Return the processor time that these processes and their descendants have used so far, in seconds."""
    ticks = 0
    for pid in {child for root in pids for child in descendants(root)}:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def measure(
    client: httpx.Client, bare: httpx.Client, paths: Mapping[str, str], times: int, processor: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """Request each page ``times`` times, in turn with a trivial page of a server without content.

    Args:
        client: a client with the session and the token of a person.
        bare: a client of the server without content.
        paths: the pages by their names.
        times: number of requests for each page, besides a first one that is not counted.
        processor: returns the processor time that the server has used so far, in seconds.

    Returns:
        Name → median and p95 in milliseconds of page and trivial page, and the server's processor time per page.
    """
    figures = {}
    for name, path in paths.items():
        first = _seconds(client, path)
        used, own, trivial = processor(), [], []
        for _ in range(times):
            own.append(_seconds(client, path))
            trivial.append(_seconds(bare, "/"))
        figures[name] = {
            "first_ms": _milliseconds(first),
            "p50_ms": _milliseconds(statistics.median(own)),
            "p95_ms": _milliseconds(quantile(own, 0.95)),
            "processor_ms": _milliseconds((processor() - used) / times),
            "bare_p50_ms": _milliseconds(statistics.median(trivial)),
            "bare_p95_ms": _milliseconds(quantile(trivial, 0.95)),
        }
    return figures


@contextmanager
def visitor(url: str, cookies: Mapping[str, str] | None = None, token: str = "") -> Iterator[httpx.Client]:
    """Context manager of a client with a session's cookies and a token for the API."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(base_url=url, timeout=PATIENCE_S, cookies=dict(cookies or {}), headers=headers) as client:
        yield client


def _seconds(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    client.get(path).raise_for_status()
    return time.perf_counter() - began


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 1)
