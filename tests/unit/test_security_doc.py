"""The threat table names for every row a test that proves it: it is there, can fail, runs, and proves one row alone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache

import pytest

from stage.layout import ROOT

TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
ROWS = [line for line in TEXT.splitlines() if line.startswith("|")][2:]
#: Marks that keep a test from running, or from failing; one may need a privilege (skipif).
_NOT_RUN = frozenset({"skip", "xfail"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def functions_in(path: str) -> dict[str, Function]:
    """The functions of a test module by their names, those in classes too."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, Function)}


def can_fail(path: str, name: str, seen: frozenset[str] = frozenset()) -> bool:
    """Whether a function asserts something: by itself, or in a function of its module that it names."""
    functions = functions_in(path)
    body = list(ast.walk(functions[name]))
    calls = {node.func.attr for node in body if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    names = {node.id for node in body if isinstance(node, ast.Name)} | {
        node.arg for node in body if isinstance(node, ast.arg)
    }
    if any(isinstance(node, ast.Assert) for node in body) or calls & {"raises", "fail"} or "wait_until" in names:
        return True
    others = (names & functions.keys()) - seen - {name}
    return any(can_fail(path, other, seen | {name}) for other in others)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_named_test_is_there_runs_and_can_fail(path: str, name: str) -> None:
    function = functions_in(path)[name]
    marks = {node.attr for one in function.decorator_list for node in ast.walk(one) if isinstance(node, ast.Attribute)}
    assert not marks & _NOT_RUN
    assert can_fail(path, name)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_its_proof(row: str) -> None:
    threat, measure, proof = (cell.strip() for cell in row.strip("|").split("|"))
    assert measure
    assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", proof), threat


def test_no_test_stands_for_two_rows() -> None:
    in_table = [named for row in ROWS for named in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row)]
    assert [named for named, count in Counter(in_table).items() if count > 1] == []


def test_the_table_is_read_at_all() -> None:
    assert len(ROWS) > 100
