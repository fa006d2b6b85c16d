"""Marks of annotations that Datagen writes in the name of a person.

Label Studio stores two users of an annotation: the submitter, whom a request may name, and the user who updated it
last, who is always the one whose token the request has. An annotation that Datagen wrote in a person's name therefore
looks as if another user had changed it. Its result is marked with a digest of its content and of the person. As long as
the mark fits, and Datagen's own account updated it last, the content is the person's; after any change in Label Studio
it is that of the user who changed it. Anybody can compute a mark or copy one, so a mark alone says nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Beginning of the id of the entry that has the mark.
_PREFIX = "datagen-"
#: Number of hexadecimal digits of the digest in a mark.
_DIGITS = 20


def marked(result: Sequence[Mapping[str, Any]], user_id: int) -> list[dict[str, Any]]:
    """Return a result with the mark of a user: the id of its first entry. An empty result has no mark."""
    mark = _mark(result, user_id)
    return [{**entry, "id": mark} if number == 0 else dict(entry) for number, entry in enumerate(result)]


def is_marked(result: object, user_id: int) -> bool:
    """Return whether a result has the mark of a user, and its content is the one that was marked."""
    entries = [entry for entry in result if isinstance(entry, Mapping)] if isinstance(result, list) else []
    marks = [name for entry in entries if isinstance(name := entry.get("id"), str) and name.startswith(_PREFIX)]
    return bool(marks) and _mark(entries, user_id) in marks


def _mark(entries: Iterable[Mapping[str, Any]], user_id: int) -> str:
    content = [[str(entry.get("from_name")), entry.get("value")] for entry in entries]
    text = json.dumps([user_id, sorted(content, key=json.dumps)], sort_keys=True)
    return _PREFIX + hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
