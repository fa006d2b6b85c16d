"""Images that are rendered again for their pages, each in a separate process, because it takes minutes.

``python -m datagen.web.pages.reproductions KEY`` renders the sample ``KEY`` again, and prints the result as JSON. The
results are kept in memory, because they can be computed again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

import structlog
from cachetools import LRUCache

from datagen.domain.foreign_text import plain
from datagen.entrypoints.bootstrap import build_services
from datagen.errors import DatagenError
from datagen.operations.logging import configure_logging
from datagen.settings import Settings
from datagen.web.pages.background import BackgroundWork
from datagen.workflow import outages
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.services import Services
from datagen.workflow.studies.reproduce import reproduce
from datagen.workflow.studies.sample_records import WantedSample, stored_record

log = structlog.get_logger()

#: Seconds after which a rendering is given up.
LONGEST_SECONDS = 600
#: Number of results that are kept.
_KEPT = 256
_TOO_SLOW = f"It took more than {LONGEST_SECONDS // 60} minutes here. The command below takes as long as it needs."
_NO_RESULT = (
    "The rendering ended without a result. The web process's log has the reason; the command below prints it, too."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduced:
    """The result of rendering a sample again."""

    #: whether image and mask have the pixels that they had
    is_same: bool = False
    #: what was compared, each with the result, as sentences
    comparisons: tuple[str, ...] = ()
    #: why it could not be rendered, as a sentence; empty if it was
    problem: str = ""


def render_again(services: Services, key: str) -> Reproduced:
    """Render a sample of this installation again, and compare its files with the stored ones."""
    try:
        wanted = WantedSample(key=key)
        done = reproduce(
            stored_record(services, wanted),
            wanted,
            pictures=StoredPictures(services.images, services.decoder),
            decoder=services.decoder,
            engine_settings=services.engine_settings,
        )
    except DatagenError as fault:
        outage = outages.outage_of(fault)
        return Reproduced(problem=f"It {outage}." if outage is not None else str(fault))
    return Reproduced(is_same=done.is_same, comparisons=tuple(map(str, done.comparisons)))


def render_in_process(key: str) -> Reproduced:
    """Render a sample again in a process of its own, with a low priority."""
    command = ["nice", "-n", "10", sys.executable, "-m", "datagen.web.pages.reproductions", key]
    try:
        ended = subprocess.run(command, capture_output=True, check=False, timeout=LONGEST_SECONDS)  # noqa: S603
    except subprocess.TimeoutExpired:
        return Reproduced(problem=_TOO_SLOW)
    try:
        body = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        log.warning("reproduction.failed", code=ended.returncode, stderr=ended.stderr[-2_000:].decode(errors="replace"))
        return Reproduced(problem=_NO_RESULT)
    return replace(Reproduced(**body), comparisons=tuple(body["comparisons"]))


class Reproductions:
    """The results of an installation's pages; thread-safe.

    Args:
        background: Runs one rendering after another.
        render: Renders the sample of a key again.
    """

    def __init__(self, background: BackgroundWork, render: Callable[[str], Reproduced] = render_in_process) -> None:
        self._background, self._render = background, render
        self._lock = threading.Lock()
        self._results: LRUCache[str, Reproduced] = LRUCache(_KEPT)

    def start(self, key: str) -> bool:
        """Begin to render a sample again; return False if that is under way already.

        Raises:
            Refused: too much is under way already.
        """
        return self._background.start(("reproduce", key), partial(self._keep, key))

    def is_running(self, key: str) -> bool:
        """Return whether a sample is being rendered again, or waits for it."""
        return self._background.has(("reproduce", key))

    def result(self, key: str) -> Reproduced | None:
        """Return the newest result for a sample; None if there is none."""
        with self._lock:
            return self._results.get(key)

    def _keep(self, key: str) -> None:
        result = self._render(key)
        with self._lock:
            self._results[key] = result


def main(key: str) -> None:
    """Render a sample again, and print the result as one line of JSON."""
    chosen = Settings()
    configure_logging(chosen.log_level, chosen.known_secrets())
    result = render_again(build_services(chosen, lambda _requests: None), plain(key))
    sys.stdout.write(json.dumps(asdict(result)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
