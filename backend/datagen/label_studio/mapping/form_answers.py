"""Form answers as domain values: the use of a background, a verdict, a decision.

An answer is found by the name of its control, never by its position. ``regions`` reads drawn regions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datagen.domain.decision import ACTIONS, Decision
from datagen.domain.foreign_text import plain
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import InputProblem

#: Name of the control in the Backgrounds project, and its choice that excludes a background.
_USE, _EXCLUDE = "use", "exclude"

_OPINIONS = {str(opinion): opinion for opinion in Opinion}
_REASONS = {str(reason): reason for reason in Reason}
_ACTIONS = {str(action): action for action in ACTIONS}


def background_use(result: Sequence[Any] | None) -> bool:
    """Whether a background is used; false only if *exclude* was chosen."""
    return _EXCLUDE not in _choices(result, _USE)


#: Name of a control, and its choice, in the annotations by which earlier versions of Datagen closed review tasks.
_STATUS, _CLOSED = "status", "closed"


def is_closing(result: Sequence[Any] | None) -> bool:
    """Whether an earlier version of Datagen submitted this result to close a review task; it contains no verdict."""
    return _CLOSED in _choices(result, _STATUS)


def verdict(result: Sequence[Any] | None) -> Verdict | None:
    """The verdict of a reviewer; None unless exactly one of *good* and *bad* was chosen."""
    opinions = [_OPINIONS[choice] for choice in _choices(result, "verdict") if choice in _OPINIONS]
    if len(opinions) != 1:
        return None
    chosen = (choice for choice in _choices(result, "reasons") if choice in _REASONS)
    reasons: frozenset[Reason] = frozenset(_REASONS[choice] for choice in chosen)
    return Verdict(opinion=opinions[0], reasons=reasons, comment=_text(result, "comment"))


def decision(result: Sequence[Any] | None) -> Decision:
    """The decision submitted in the Decisions project.

    Raises:
        InputProblem: Not exactly one action was chosen, or a number is not a whole number.
    """
    actions = [_ACTIONS[choice] for choice in _choices(result, "action") if choice in _ACTIONS]
    if len(actions) != 1:
        raise InputProblem(f"no action was chosen; choose {', '.join(f'“{action}”' for action in ACTIONS)} and update.")
    action: StudyEvent = actions[0]
    return Decision(
        action=action,
        count=_number(result, "count", "images"),
        audit_count=_number(result, "audit_count", "samples"),
        name=_text(result, "name"),
        note=_text(result, "note"),
        confirmed=bool(_choices(result, "confirm")),
    )


def _number(result: Sequence[Any] | None, control: str, of: str) -> int | None:
    numbers = [value["number"] for value in _values(result, control) if value.get("number") is not None]
    if not numbers:
        return None
    number = numbers[0]
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number // 1:
        raise InputProblem(f"the number of {of}, {str(number)[:40]!r}, is not a whole number; change it and update.")
    return int(number)


def _choices(result: Sequence[Any] | None, control: str) -> list[str]:
    chosen = [value.get("choices") for value in _values(result, control)]
    return [choice for choices in chosen if isinstance(choices, list) for choice in choices if isinstance(choice, str)]


def _text(result: Sequence[Any] | None, control: str) -> str:
    """The lines of a text box, without surrounding white space."""
    lines: list[str] = []
    for value in _values(result, control):
        text = value.get("text")
        lines += [line for line in (text if isinstance(text, list) else [text]) if isinstance(line, str)]
    return plain("\n".join(line.strip() for line in lines if line.strip()))


def _values(result: Sequence[Any] | None, control: str) -> list[Mapping[str, Any]]:
    """The values of the results of one control."""
    entries = [entry for entry in result or () if isinstance(entry, Mapping) and entry.get("from_name") == control]
    return [value for entry in entries if isinstance(value := entry.get("value"), Mapping)]
