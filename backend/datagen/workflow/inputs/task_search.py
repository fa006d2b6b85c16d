"""Tasks of a Label Studio project whose data match a condition, such as “line contains 3”, up to a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from datagen.errors import InputProblem
from datagen.label_studio.api.port import LabelStudioPort

#: Largest number of tasks that are looked at for a page of matches, and of matches on it: a search takes seconds, not
#: minutes.
MOST_READ, MOST_FOUND = 5_000, 100
#: Largest number of values of a task that are returned, and largest length of one, characters.
_FEW_VALUES, _LONGEST_VALUE = 6, 80


class Operator(StrEnum):
    """The comparison of a value in a task's data with the given one. Texts are compared without regard to case."""

    CONTAINS = "contains"
    LACKS = "does not contain"
    IS = "is"
    IS_NOT = "is not"
    LESS = "is less than"
    MORE = "is more than"
    EMPTY = "is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCondition:
    """A condition on a task's data."""

    #: a key of the data
    column: str
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTask:
    """A task that matches."""

    id: int
    #: the first of its data, as text
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskMatches:
    """A page of the result of a search."""

    tasks: tuple[FoundTask, ...]
    #: number of tasks that were looked at
    read: int
    #: the task after which the next page begins, if the search ended at one of its limits; None: there are no more
    next_after: int | None


def find_tasks(client: LabelStudioPort, project_id: int, condition: TaskCondition, after: int = 0) -> TaskMatches:
    """Return the first tasks of a project behind the task ``after`` that match, in the order of their ids.

    Tasks that Label Studio cannot send match nothing.

    Raises:
        InputProblem: the project has no task, no task has the column, or the value is no number.
        LabelStudioMissing: there is no such project.
    """
    is_match = _test_of(condition)
    client.project(project_id)
    columns: dict[str, None] = {}
    matches: list[FoundTask] = []
    read, last = 0, after
    next_after: int | None = None
    for task in client.tasks(project_id, annotations=False, after=after, unreadable=[]):
        if read == MOST_READ or len(matches) == MOST_FOUND:
            next_after = last
            break
        read, last = read + 1, task.id
        columns |= dict.fromkeys(task.data)
        if is_match(task.data.get(condition.column)):
            first = [*task.data.items()][:_FEW_VALUES]
            matches.append(FoundTask(id=task.id, data={name: _text(value)[:_LONGEST_VALUE] for name, value in first}))
    if not read and not after:
        raise InputProblem(f"project {project_id} has no task; choose another project")
    if condition.column not in columns and not after:
        raise InputProblem(
            f"no task of project {project_id} has a column “{condition.column}”; there are: {', '.join(columns)[:300]}"
        )
    return TaskMatches(tasks=tuple(matches), read=read, next_after=next_after)


def _test_of(condition: TaskCondition) -> Callable[[Any], bool]:
    """Return a function that returns whether a value matches.

    Raises:
        InputProblem: the operator compares numbers, and the condition's value is not a number.
    """
    wanted = condition.value.casefold().strip()
    match condition.operator:
        case Operator.CONTAINS:
            return lambda value: wanted in _text(value).casefold()
        case Operator.LACKS:
            return lambda value: wanted not in _text(value).casefold()
        case Operator.IS:
            return lambda value: _text(value).casefold().strip() == wanted
        case Operator.IS_NOT:
            return lambda value: _text(value).casefold().strip() != wanted
        case Operator.EMPTY:
            return lambda value: not _text(value).strip()
        case Operator.LESS | Operator.MORE:
            limit = _number(condition.value)
            if limit is None:
                raise InputProblem(f"“{condition.value}” is no number; “{condition.operator}” compares numbers")
            if condition.operator is Operator.LESS:
                return lambda value: (number := _number(value)) is not None and number < limit
            return lambda value: (number := _number(value)) is not None and number > limit


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
