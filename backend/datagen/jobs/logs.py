"""Logging: one JSON line per event on standard error, and nothing secret in any of them.

Three nets: what is secret by its value (the settings' own), by its name (``password=…``), and by its look (tokens, auth
headers, links' keys). Libraries' warnings, gunicorn's own and crashes go through the same nets.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Collection, MutableMapping
from types import TracebackType
from typing import Any

import structlog

_NAMES = r"token|passw(?:or)?d|basic_auth_pass|secret|authorization|api_?key|signing_?key|credential|cookie|signature"
#: A value under such a name is never written.
_SECRET_NAMES = re.compile(_NAMES, re.IGNORECASE)
#: The same inside a text: ``X-Datagen-Secret: …``, ``'password': '…'``, ``?token=…``.
_SECRET_PAIRS = re.compile(
    rf"""(?P<name>[\w-]*(?:{_NAMES})[\w-]*["']?\s*[:=]\s*)(?P<value>"[^"]*"|'[^']*'|[^\s"'&,;)}}\]]+)""", re.IGNORECASE
)
#: What looks like a secret inside a text: both kinds of Label Studio token, auth headers, signed links, URL passwords.
_SECRET_LOOKS = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|\b[0-9a-fA-F]{40}\b"
    r"|(?<=Token )[\w.~+/=-]+|(?<=Bearer )[\w.~+/=-]+|(?<=Basic )[\w.~+/=-]+"
    r"|(?<=[?&]key=)[^&\s\"']+"
    r"|(?<=://)[^/@\s:]*:[^/@\s]+(?=@)"
)
#: A shorter value would blot out ordinary words; nobody guesses a longer one.
_SHORTEST_SECRET = 6
REDACTED = "[redacted]"


class Redaction:
    """A processor of structlog's that replaces secrets, however deep in an event."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        values = sorted((one for one in secrets if len(one) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, values))) if values else None

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The event, cleaned."""
        return {
            name: REDACTED if _SECRET_NAMES.search(name) and not isinstance(value, bool) else self._clean(value)
            for name, value in event.items()
        }

    def text(self, text: str) -> str:
        """A text, cleaned."""
        if self._values is not None:
            text = self._values.sub(REDACTED, text)
        text = _SECRET_LOOKS.sub(REDACTED, text)
        return _SECRET_PAIRS.sub(lambda found: found["name"] + REDACTED, text)

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return dict(self(None, "", {str(name): inner for name, inner in value.items()}))
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(one) for one in value]
        return value if isinstance(value, int | float | bool | None) else self.text(str(value))


def configure_logging(level: str, secrets: Collection[str] = ()) -> None:
    """Send structlog's events, the libraries' warnings and crashes through one redaction to standard error."""
    redact = Redaction(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Any] = [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)  # RQ sets its loggers' own level when it is imported, past the root's
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # gunicorn writes past the root: a request that fails is told there with its address, and that with its key
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.handlers.clear()
    gunicorn.propagate = True
    _tell_crashes()


def _tell_crashes() -> None:
    """Write what ends the process or a thread as an event; where somebody else looks after that, leave it to them."""
    log = structlog.get_logger()

    def on_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.critical("process.crashed", exc_info=(kind, error, trace))

    def on_thread_crash(crash: threading.ExceptHookArgs) -> None:
        name = crash.thread.name if crash.thread else ""
        log.error("thread.crashed", thread=name, exc_info=(crash.exc_type, crash.exc_value, crash.exc_traceback))

    sys.excepthook = on_crash
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = on_thread_crash
