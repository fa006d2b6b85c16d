"""CSV and TSV files that Label Studio exports: one row an annotation, regions as JSON text in a column a control."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datagen.errors import InputProblem
from datagen.workflow.inputs.importing.task_pictures import PICTURE_LIKE

#: Characters of one field: a brush mask is long.
_LONGEST_FIELD = 16 * 2**20
_MOST_ROWS = 200_000
#: A row that is shorter is filled up to the columns of the first one.
_MOST_COLUMNS = 1_000
_PICTURE_IN_CELL = re.compile(rf"({'|'.join(map(re.escape, sorted(PICTURE_LIKE)))})\s*(?:[,;\t\"\n]|$)", re.IGNORECASE)


def records_of(text: str, called: str) -> list[dict[str, Any]]:
    """The rows of a file as flat records.

    Raises:
        InputProblem: it is no table, or has no rows.
    """
    first = text.partition("\n")[0]
    delimiter = max(",\t;", key=first.count)
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
        if len(reader.fieldnames or ()) > _MOST_COLUMNS:
            raise InputProblem(f"{called} has more than {_MOST_COLUMNS:,} columns; remove those that are not needed")
        records: list[dict[str, Any]] = []
        for row in reader:
            if len(records) >= _MOST_ROWS:
                raise InputProblem(f"{called} has more than {_MOST_ROWS:,} rows; split it")
            records.append({key: value for key, value in row.items() if isinstance(key, str) and value is not None})
    except csv.Error as fault:
        raise InputProblem(f"{called} is no table that can be read: {fault}") from None
    finally:
        csv.field_size_limit(before)
    if not records:
        raise InputProblem(f"{called} names no picture: it has no rows")
    return records


def rows_over_lines(records: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """The numbers of the rows with a cell that names a picture and goes over several lines, as after a stray quote."""
    for number, record in enumerate(records, start=1):
        for value in record.values():
            text = value.strip() if isinstance(value, str) else ""
            if "\n" in text and text[0] not in "[{" and _PICTURE_IN_CELL.search(text):
                yield number
                break
