"""Logging: one JSON line per event on standard error, with secrets redacted.

A command that a person runs writes only warnings and errors, as plain lines between its own output.

Secrets are recognised in three ways: by value (those in the settings), by name (``password=…``), and by pattern
(tokens, auth headers, keys of links). The same redaction applies to the warnings of libraries, gunicorn's log and
crashes.
"""

from __future__ import annotations

import logging
import re
import string
import sys
import threading
from collections.abc import Collection, MutableMapping
from types import TracebackType
from typing import Any

import structlog

_NAMES = r"token|passw(?:or)?d|basic_auth_pass|secret|authorization|api_?key|signing_?key|credential|cookie|signature"
# Log lines contain untrusted text, and regular expressions run with the interpreter's lock held. So each pattern reads
# a character a bounded number of times: a match starts only at the beginning of a word (“(?<![\w-])”), a look-ahead
# ends with the word, and possessive quantifiers (“++”, “*+”) prevent backtracking.
#: Names of secrets. A value under a name that matches is never written.
_SECRET_NAMES = re.compile(_NAMES, re.IGNORECASE)
#: A name of a secret and its value inside a text: ``X-Datagen-Secret: …``, ``'password': '…'``, ``?token=…``. If the
#: value begins with a quote that is not closed, the rest of the line is redacted.
_SECRET_PAIRS = re.compile(
    rf"""(?<![\w-])(?P<name>(?=[\w-]*?(?:{_NAMES}))[\w-]++["']?\s*+[:=]\s*+)"""
    r"""(?P<value>"[^"]*+"|'[^']*+'|["'][^\n]*+|[^\s"'&,;)}\]]++)""",
    re.IGNORECASE,
)
#: Patterns of secrets inside a text: both kinds of Label Studio token, auth headers, signed links, URL passwords.
_SECRET_LOOKS = re.compile(
    r"(?<![\w-])(?=[\w-]*?eyJ[\w-])[\w-]++\.[\w-]++\.[\w-]*+"
    r"|\b[0-9a-fA-F]{40}\b"
    r"|(?<=Token )[\w.~+/=-]++|(?<=Bearer )[\w.~+/=-]++|(?<=Basic )[\w.~+/=-]++"
    r"|(?<=[?&]key=)[^&\s\"']++"
    r"|(?<=://)[^/@\s:]*+:[^/@\s]++(?=@)"
)
#: Length of the shortest secret that is redacted by its value, characters. The value of a shorter one may occur in
#: ordinary words. Datagen's own secrets are longer (``settings.SHORTEST_SECRET``); a database password may be shorter.
_SHORTEST_VALUE = 6
#: A longer text is cut to this many characters, and the number of missing characters is appended.
LONGEST_TEXT = 50_000
#: The characters that tokens consist of, and the largest number of characters of a token.
_TOKEN_CHARACTERS = string.ascii_letters + string.digits + "-_.~+/="
_LONGEST_WORD = 5_000
#: A value nested deeper than this is not written.
_DEEPEST = 20
REDACTED = "[redacted]"


class Redaction:
    """A structlog processor that replaces secrets at any depth of an event, in time linear in the event's size."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        self._values = sorted((secret for secret in secrets if len(secret) >= _SHORTEST_VALUE), key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event with its secrets redacted."""
        return self._clean_fields(event, 0)

    def text(self, text: str) -> str:
        """Return a text with its secrets redacted, cut to ``LONGEST_TEXT`` characters."""
        missing = ""
        if len(text) > LONGEST_TEXT:
            end = self._harmless_cut(text)
            missing = f"… [cut: {len(text) - end} more characters]"
            text = text[:end]
        for value in self._values:
            text = text.replace(value, REDACTED)
        text = _SECRET_LOOKS.sub(REDACTED, text)
        return _SECRET_PAIRS.sub(lambda match: match["name"] + REDACTED, text) + missing

    def _harmless_cut(self, text: str) -> int:
        """Return the index at which to cut a long text, so that no secret is cut in two and escapes redaction."""
        window = text[LONGEST_TEXT - _LONGEST_WORD : LONGEST_TEXT]
        end = LONGEST_TEXT - len(window) + len(window.rstrip(_TOKEN_CHARACTERS))
        for value in self._values:
            start = text.find(value, max(0, end - len(value) + 1), end + len(value) - 1)
            if start >= 0:
                end = start
        return end

    def _clean_fields(self, fields: MutableMapping[str, Any], depth: int) -> dict[str, Any]:
        return {
            name: REDACTED
            if _SECRET_NAMES.search(name[:LONGEST_TEXT]) and not isinstance(value, bool)
            else self._clean(value, depth)
            for name, value in fields.items()
        }

    def _clean(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if depth > _DEEPEST:
            return "[nested too deep]"
        if isinstance(value, dict):
            return self._clean_fields({str(name): inner for name, inner in value.items()}, depth + 1)
        if isinstance(value, list | tuple | set | frozenset):
            return [self._clean(item, depth + 1) for item in value]
        return value if isinstance(value, int | float | bool | None) else self.text(str(value))


#: Sentences for events that a command's user may see; other events are shown as name and fields.
_SENTENCES = {
    "queue.unreachable": "Redis does not answer. The work is kept and begins once Redis is back; see: datagen doctor",
    "tasks.unreadable": "Label Studio cannot send some tasks of project {project}; see: datagen doctor",
    "worker.unreadable": "the entry {key} in Redis is no worker's and is left out ({reason})",
    "job.unreadable": "the job {job} in Redis cannot be read and is left out ({reason})",
}


#: Control character of a terminal, or end of a line → its escape.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
#: The same for tracebacks, which keep their line ends.
_TRACE_CONTROLS = {code: escape for code, escape in _CONTROLS.items() if chr(code) != "\n"}


def plain_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """Render an event for a person: "Warning: " and a sentence in one line; a crash also has its traceback."""
    name, level = str(event.pop("event", "")), str(event.pop("level", "warning"))
    event.pop("timestamp", None)
    trace = str(event.pop("exception", "")).strip()
    if name in _SENTENCES:
        text = _SENTENCES[name].format_map(_Fields(event))
    else:
        fields = ", ".join(f"{field} {value}" for field, value in event.items() if field != "logger")
        text = f"{name} ({fields})" if fields else name
    crashed = level == "critical"
    if trace and not crashed:
        text += f": {trace.splitlines()[-1]}"
    line = f"{level.capitalize()}: {text}".translate(_CONTROLS)
    if trace and crashed:
        return f"{line}. This is a fault of Datagen; please report it.\n{trace.translate(_TRACE_CONTROLS)}"
    return line


class _Fields(dict[str, Any]):
    """An event's fields for a sentence; a missing field is shown as “…”."""

    def __missing__(self, name: str) -> str:
        return "…"


def configure_logging(level: str, secrets: Collection[str] = (), *, for_a_person: bool = False) -> None:
    """Write structlog's events, the warnings of libraries and crashes to standard error, with secrets redacted.

    Args:
        level: The lowest level that is written: DEBUG, INFO, WARNING or ERROR.
        secrets: Values that are never written.
        for_a_person: Write plain lines instead of JSON. INFO is then written only if ``level`` is DEBUG.
    """
    redact = Redaction(secrets)
    if for_a_person and level == "INFO":
        level = "WARNING"
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Any] = [
        structlog.processors.format_exc_info,
        redact,
        plain_line if for_a_person else structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(
        logging.WARNING
    )  # RQ sets the level of its own loggers on import, which overrides the root's level
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    # gunicorn's logger bypasses the root: it would log the address of a failed request with the key in it
    gunicorn = logging.getLogger("gunicorn.error")
    gunicorn.handlers.clear()
    gunicorn.propagate = True
    _log_crashes()


def _log_crashes() -> None:
    """Log uncaught exceptions of the process and its threads; keep a thread hook that is already installed."""
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
