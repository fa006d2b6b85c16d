"""CSV and TSV exports of Label Studio: one row per annotation, regions as JSON text in one column per control."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datagen.errors import InputProblem
from datagen.workflow.inputs.importing.task_pictures import PICTURE_LIKE

#: Longest field, in characters. Brush masks are long.
_LONGEST_FIELD = 16 * 2**20
_MAX_ROWS = 200_000
#: Largest number of columns. A row with fewer fields than the first row is filled up.
_MAX_COLUMNS = 1_000
_PICTURE_IN_CELL = re.compile(rf"({'|'.join(map(re.escape, sorted(PICTURE_LIKE)))})\s*(?:[,;\t\"\n]|$)", re.IGNORECASE)


def records_of(text: str, called: str) -> list[dict[str, Any]]:
    """Return the rows of a file as flat records: column → field. ``called`` is the file's name in messages.

    Raises:
        InputProblem: the text is not a table, is too large, or has no rows.
    """
    first = text.partition("\n")[0]
    delimiter = max(",\t;", key=first.count)
    previous_limit = csv.field_size_limit(_LONGEST_FIELD)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=False)
        if len(reader.fieldnames or ()) > _MAX_COLUMNS:
            raise InputProblem(f"{called} has more than {_MAX_COLUMNS:,} columns; remove those that are not needed")
        records: list[dict[str, Any]] = []
        for row in reader:
            if len(records) >= _MAX_ROWS:
                raise InputProblem(f"{called} has more than {_MAX_ROWS:,} rows; split it")
            records.append({key: value for key, value in row.items() if isinstance(key, str) and value is not None})
    except csv.Error as fault:
        raise InputProblem(f"{called} is no table that can be read: {fault}") from None
    finally:
        csv.field_size_limit(previous_limit)
    if not records:
        raise InputProblem(f"{called} names no picture: it has no rows")
    return records


def rows_over_lines(records: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """Yield the numbers of rows in which a quote is probably not closed.

    In such a row, a cell that names a picture has several lines.
    """
    for number, record in enumerate(records, start=1):
        for value in record.values():
            text = value.strip() if isinstance(value, str) else ""
            if "\n" in text and text[0] not in "[{" and _PICTURE_IN_CELL.search(text):
                yield number
                break
