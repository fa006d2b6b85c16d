"""The threat table names a test for every row, and each named test is there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from stage.layout import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
ROWS = [line for line in TEXT.splitlines() if line.startswith("|")][2:]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_named_test_is_there(path: str, name: str) -> None:
    assert name in names_in(path)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_its_proof(row: str) -> None:
    threat, measure, proof = (cell.strip() for cell in row.strip("|").split("|"))
    assert measure
    assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", proof), threat


def test_the_table_is_read_at_all() -> None:
    assert len(ROWS) > 40
