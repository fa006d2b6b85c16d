"""Logging: one JSON line per event on standard error, and nothing secret in any of them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

#: A value under such a name is never written.
_SECRET_NAMES = re.compile(r"token|password|passwd|secret|authorization|api_?key|credential|cookie", re.IGNORECASE)
#: What looks like a secret inside a text: both kinds of Label Studio token, auth headers, signed links, URL passwords.
_SECRET_LOOKS = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|\b[0-9a-f]{40}\b"
    r"|(?<=Token )\S+|(?<=Bearer )\S+|(?<=Basic )\S+"
    r"|(?<=[?&]key=)[^&\s]+"
    r"|(?<=://)[^/@\s]+:[^/@\s]+(?=@)"
)
REDACTED = "[redacted]"


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets by name and by look, however deep; a processor of structlog's."""
    return {
        name: REDACTED if _SECRET_NAMES.search(name) and not isinstance(value, bool) else _clean(value)
        for name, value in event.items()
    }


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_LOOKS.sub(REDACTED, value)
    if isinstance(value, dict):
        return dict(redact(None, "", {str(name): inner for name, inner in value.items()}))
    if isinstance(value, list | tuple | set):
        return [_clean(one) for one in value]
    return value if isinstance(value, int | float | bool | None) else _SECRET_LOOKS.sub(REDACTED, str(value))


def configure_logging(level: str) -> None:
    """Send structlog's events and the libraries' warnings through the same redaction to standard error."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[:-2], structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
