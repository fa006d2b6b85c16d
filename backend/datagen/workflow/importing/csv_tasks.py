"""CSV and TSV files that Label Studio exports: one row an annotation, regions as JSON text in a column a control."""

from __future__ import annotations

import csv
import io
from typing import Any

from datagen.errors import InputProblem

#: Characters of one field: a brush mask is long.
_LONGEST_FIELD = 16 * 2**20
_MOST_ROWS = 200_000


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
        records: list[dict[str, Any]] = []
        for row in reader:
            if len(records) >= _MOST_ROWS:
                raise InputProblem(f"{called} has more than {_MOST_ROWS:,} rows; split it")
            records.append({key: value for key, value in row.items() if isinstance(key, str)})
    except csv.Error as fault:
        raise InputProblem(f"{called} is no table that can be read: {fault}") from None
    finally:
        csv.field_size_limit(before)
    if not records:
        raise InputProblem(f"{called} names no picture: it has no rows")
    return records
