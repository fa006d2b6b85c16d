"""Text as a double-quoted scalar of YAML."""

from __future__ import annotations

import json
import re

#: Characters that YAML 1.1 does not permit as they are, or takes for a line break, and JSON does not escape.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")


def quoted(text: str) -> str:
    """Return a text in double quotes, for one line of a YAML file; it is read back as it was."""
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))
