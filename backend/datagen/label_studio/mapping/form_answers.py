"""What people answered in a form, as domain values: the use of a background, a verdict, a decision.

Answers are picked by the name of their control, never by position. For what was drawn see ``regions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datagen.domain.decision import ACTIONS, Decision
from datagen.domain.foreign_text import plain
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import InputProblem

#: The two answers on the Backgrounds desk.
USE, EXCLUDE = "use", "exclude"

_OPINIONS = {str(one): one for one in Opinion}
_REASONS = {str(one): one for one in Reason}
_ACTIONS = {str(one): one for one in ACTIONS}


def background_use(result: Sequence[Any] | None) -> bool:
    """Whether a background is to be used: yes, unless somebody chose *exclude*."""
    return EXCLUDE not in _choices(result, "use")


#: The control and its choice by which a review task that is not to be judged any more is closed.
_STATUS, _CLOSED = "status", "closed"


def closing() -> list[dict[str, Any]]:
    """The result of an annotation that takes a review task out of the queue and is no verdict."""
    value = {"choices": [_CLOSED]}
    return [{"id": "closed", "from_name": _STATUS, "to_name": "image", "type": "choices", "value": value}]


def is_closing(result: Sequence[Any] | None) -> bool:
    """Whether an annotation is such a one: see ``closing``."""
    return _CLOSED in _choices(result, _STATUS)


def verdict(result: Sequence[Any] | None) -> Verdict | None:
    """What a reviewer said; None where neither *good* nor *bad* was chosen (or both were)."""
    opinions = [_OPINIONS[one] for one in _choices(result, "verdict") if one in _OPINIONS]
    if len(opinions) != 1:
        return None
    reasons: frozenset[Reason] = frozenset(_REASONS[one] for one in _choices(result, "reasons") if one in _REASONS)
    return Verdict(opinion=opinions[0], reasons=reasons, comment=_text(result, "comment"))


def decision(result: Sequence[Any] | None) -> Decision:
    """What was asked for at the Decisions desk.

    Raises:
        InputProblem: no action was chosen, or the number of images is none.
    """
    actions = [_ACTIONS[one] for one in _choices(result, "action") if one in _ACTIONS]
    if len(actions) != 1:
        raise InputProblem(f"no action was chosen; choose {', '.join(f'“{one}”' for one in ACTIONS)} and update.")
    action: StudyEvent = actions[0]
    return Decision(
        action=action,
        count=_count(result),
        name=_text(result, "name"),
        note=_text(result, "note"),
        confirmed=bool(_choices(result, "confirm")),
    )


def _count(result: Sequence[Any] | None) -> int | None:
    numbers = [value["number"] for value in _values(result, "count") if value.get("number") is not None]
    if not numbers:
        return None
    number = numbers[0]
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number // 1:
        raise InputProblem(f"the number of images, {str(number)[:40]!r}, is not a whole number; change it and update.")
    return int(number)


def _choices(result: Sequence[Any] | None, control: str) -> list[str]:
    chosen = [value.get("choices") for value in _values(result, control)]
    return [one for choices in chosen if isinstance(choices, list) for one in choices if isinstance(one, str)]


def _text(result: Sequence[Any] | None, control: str) -> str:
    """The lines of a text box, stripped."""
    lines: list[str] = []
    for value in _values(result, control):
        text = value.get("text")
        lines += [one for one in (text if isinstance(text, list) else [text]) if isinstance(one, str)]
    return plain("\n".join(line.strip() for line in lines if line.strip()))


def _values(result: Sequence[Any] | None, control: str) -> list[Mapping[str, Any]]:
    """The values of one control's results."""
    ours = [one for one in result or () if isinstance(one, Mapping) and one.get("from_name") == control]
    return [value for one in ours if isinstance(value := one.get("value"), Mapping)]
