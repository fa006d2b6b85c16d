"""The samples of a run as a table: filters, orders and pages, for 100,000 samples and more.

A page begins after the sample that the one before ended with, so that the last page takes as long as the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from datagen.domain.foreign_text import plain, whole_number
from datagen.domain.verdict import Opinion
from datagen.errors import InputProblem
from datagen.export.selection import Judged, Place
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleFactsRow, SampleRow, ShardRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.generation.companion_batches import companion_of
from datagen.workflow.generation.sample_facts import bit_of
from datagen.workflow.reviews import verdict_sync

E = TypeVar("E", bound=StrEnum)

#: Largest size that a filter may have, pixels.
MOST_PIXELS = 100_000
#: Name of an order → its column; a name with “-” before it is the order from the largest to the smallest.
_ORDERS = {
    "index": SampleFactsRow.index,
    "size": SampleFactsRow.size,
    "instances": SampleFactsRow.instances,
    "background": SampleFactsRow.background,
}
ORDERS = ("index", "-index", "size", "-size", "instances", "-instances", "background")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFilter:
    """A filter of the samples of a run; an empty value does not filter."""

    #: has an instance of this label
    label: str = ""
    #: bounds of the longer side of the largest box, in pixels
    min_size: str = ""
    max_size: str = ""
    #: has an instance in this ninth of the image
    place: str = ""
    #: what people said of it in spot checks
    verdict: str = ""
    #: name of its background
    background: str = ""
    #: first digits of the digest of a photo that one of its concepts is from
    concept: str = ""

    @staticmethod
    def of(values: Mapping[str, Any]) -> TableFilter:
        """Return the filter with those of ``values`` that it has."""
        names = [field.name for field in fields(TableFilter)]
        return TableFilter(**{name: plain(str(values.get(name) or "")).strip()[:500] for name in names})

    @property
    def is_empty(self) -> bool:
        """Whether nothing is filtered."""
        return self == TableFilter()

    @property
    def is_of_sizes(self) -> bool:
        """Whether nothing but sizes is filtered."""
        return replace(self, min_size="", max_size="").is_empty

    def given(self) -> dict[str, str]:
        """Return the values that filter something, by name."""
        return {name: value for name, value in asdict(self).items() if value}


def page_of(
    session: Session, run: BatchRow, chosen: TableFilter, order: str, after: int | None, most: int
) -> Sequence[SampleFactsRow]:
    """Return the facts of at most ``most`` samples that match, in an order, from after the sample of index ``after``.

    Raises:
        InputProblem: a value of the filter is none that can be compared.
    """
    order = order if order in ORDERS else ORDERS[0]
    column, is_falling = _column_of(order.removeprefix("-"), chosen), order.startswith("-")
    query = select(SampleFactsRow).where(*conditions(session, run, chosen))
    if after is not None:
        last = session.get(SampleFactsRow, (run.id, after))
        if last is not None:
            query = query.where(_behind(column, getattr(last, order.removeprefix("-")), after, is_falling=is_falling))
    first = column.desc() if is_falling else column.asc()
    return session.scalars(query.order_by(first, SampleFactsRow.index).limit(most)).all()


def _column_of(order: str, chosen: TableFilter) -> Any:
    """Return the column of an order, in a form that its index is used for if only sizes are filtered, or nothing.

    In the order of an index, rows are read one by one from all over the table. For a filter that few samples match,
    that takes several times as long as reading all rows of the run and sorting those that match.
    """
    column = _ORDERS[order]
    is_sorted = order in ("size", "instances") and not (chosen.is_empty or (order == "size" and chosen.is_of_sizes))
    return column + 0 if is_sorted else column


def _behind(column: Any, value: Any, after: int, *, is_falling: bool) -> ColumnElement[bool]:
    """Return the condition for samples behind the one of index ``after``, whose value in the order is ``value``."""
    further = column < value if is_falling else column > value
    reached = column <= value if is_falling else column >= value  # by which an index finds the beginning
    return and_(reached, or_(further, SampleFactsRow.index > after))


def count_of(session: Session, run: BatchRow, chosen: TableFilter) -> int:
    """Return the number of samples that match.

    Raises:
        InputProblem: see ``page_of``.
    """
    return session.scalar(select(func.count()).where(*conditions(session, run, chosen))) or 0


def stored_shards(session: Session, run: BatchRow) -> int:
    """Return the number of a run's shards whose samples are stored. It grows whenever samples are added."""
    stored = ShardRow.batch_id == run.id, ShardRow.rendered_at.is_not(None)
    return session.scalar(select(func.count()).where(*stored)) or 0


def stored_count(session: Session, run: BatchRow) -> int:
    """Return the number of a run's stored samples."""
    return session.scalar(select(func.count()).select_from(SampleRow).where(SampleRow.batch_id == run.id)) or 0


def matching_indices(session: Session, run: BatchRow, chosen: TableFilter) -> frozenset[int]:
    """Return the indices of all samples that match.

    Raises:
        InputProblem: see ``page_of``.
    """
    return frozenset(session.scalars(select(SampleFactsRow.index).where(*conditions(session, run, chosen))))


def conditions(session: Session, run: BatchRow, chosen: TableFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of a filter on ``SampleFactsRow``.

    Raises:
        InputProblem: see ``page_of``.
    """
    facts = SampleFactsRow
    clauses: list[ColumnElement[bool]] = [facts.batch_id == run.id]
    if chosen.label:
        clauses.append(_has_word(facts.labels, chosen.label))
    if chosen.concept:
        clauses.append(_has_word(facts.concepts, chosen.concept))
    if chosen.background:
        clauses.append(facts.background == chosen.background)
    size: Any = facts.size if chosen.is_of_sizes else facts.size + 0  # see _column_of
    if chosen.min_size:
        clauses.append(size >= _pixels(chosen.min_size))
    if chosen.max_size:
        clauses.append(size <= _pixels(chosen.max_size))
    if chosen.place:
        clauses.append(facts.places.bitwise_and(bit_of(offered(Place, chosen.place))) != 0)
    if chosen.verdict:
        clauses.append(_is_judged(session, run, offered(Judged, chosen.verdict)))
    return clauses


def _has_word(column: Any, word: str) -> ColumnElement[bool]:
    """Return the condition for a text with a word of ``sample_facts.between``; letters have to be equal in case."""
    has_word: ColumnElement[bool] = func.replace(column, f"\n{word}\n", "") != column
    return has_word


def _is_judged(session: Session, run: BatchRow, judged: Judged) -> ColumnElement[bool]:
    checks = companion_of(session, run, BatchKind.SPOT)
    index = SampleFactsRow.index
    given = (
        select(SampleRow.index)
        .join(VerdictRow, VerdictRow.sample_id == SampleRow.id)
        .where(SampleRow.batch_id == (checks.id if checks is not None else None), verdict_sync.effective_verdicts())
    )
    bad = given.where(VerdictRow.opinion == Opinion.BAD)
    match judged:
        case Judged.BAD:
            return index.in_(bad)
        case Judged.GOOD:
            return and_(index.in_(given), index.not_in(bad))
        case Judged.UNJUDGED:
            return index.not_in(given)


def verdicts_of(session: Session, run: BatchRow, indices: Sequence[int]) -> dict[int, Judged]:
    """Return index → what people said of these samples in spot checks."""
    checks = companion_of(session, run, BatchKind.SPOT)
    verdicts = dict.fromkeys(indices, Judged.UNJUDGED)
    if checks is None or not indices:
        return verdicts
    check = aliased(SampleRow)
    rows = session.execute(
        select(check.index, VerdictRow.opinion)
        .join(VerdictRow, VerdictRow.sample_id == check.id)
        .where(check.batch_id == checks.id, check.index.in_(indices), verdict_sync.effective_verdicts())
    )
    for index, opinion in rows:
        if verdicts[index] is not Judged.BAD:
            verdicts[index] = Judged.BAD if opinion == Opinion.BAD else Judged.GOOD
    return verdicts


def _pixels(text: str) -> int:
    number = whole_number(text.removesuffix("px").strip(), MOST_PIXELS)
    if number is None:
        raise InputProblem(f"“{text[:40]}” is no size: give the longer side of a box in pixels, for example 24.")
    return number


def offered(kind: type[E], word: str) -> E:
    """Return the member of an enumeration whose value a person chose in a form.

    Raises:
        InputProblem: there is none.
    """
    try:
        return kind(word)
    except ValueError:
        raise InputProblem(
            f"“{word[:40]}” is not offered here; load the page again, and choose from the list."
        ) from None
