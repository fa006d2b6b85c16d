"""The threat table names a test for every row: it exists, runs, can fail, concerns the row and proves no other one."""

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


def marks_of(node: ast.AST) -> set[str]:
    """The attributes in an expression: ``pytest.mark.skip(...)`` has ``mark`` and ``skip``."""
    return {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def is_never_run(path: str, name: str) -> bool:
    """Whether a mark of the test, of its class or of its module, or a call at its start, skips it in any case."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    function = functions_in(path)[name]
    expressions: list[ast.AST] = [*function.decorator_list]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(part.lineno == function.lineno for part in node.body):
            expressions += node.decorator_list
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets):
            expressions.append(node.value)
    conditions = [
        call.args[0]
        for expression in expressions
        for call in ast.walk(expression)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "skipif"
        and call.args
    ]
    always = any(isinstance(condition, ast.Constant) and condition.value for condition in conditions)
    called = [part.value for part in function.body if isinstance(part, ast.Expr)]
    return always or any(marks_of(expression) & _NOT_RUN for expression in [*expressions, *called])


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_named_test_exists_runs_and_can_fail(path: str, name: str) -> None:
    assert name in functions_in(path)
    assert not is_never_run(path, name)
    assert can_fail(path, name)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_names_its_proof(row: str) -> None:
    threat, measure, proof = (cell.strip() for cell in row.strip("|").split("|"))
    assert measure
    assert re.fullmatch(r"`tests/[\w/]+\.py::test_\w+`", proof), threat


def stems(text: str) -> set[str]:
    """The first five letters of every word of four letters or more; camel case and snake case are taken apart."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).replace("_", " ")
    return {word[:5] for word in re.findall(r"[a-z]{4,}", apart.lower())}


@cache
def stems_of_test(path: str, name: str) -> frozenset[str]:
    source = ast.get_source_segment((ROOT / path).read_text(encoding="utf-8"), functions_in(path)[name])
    return frozenset(stems(f"{path} {name} {source}"))


@cache
def common_stems() -> frozenset[str]:
    """Those of more than every sixth named test: they say nothing about a test's subject."""
    tests = [stems_of_test(path, name) for path, name in NAMED]
    counted = Counter(stem for words in tests for stem in words)
    return frozenset(stem for stem, count in counted.items() if count > len(tests) / 6)


def subjects() -> list[str]:
    """Threat and measure of each row; a threat that begins with “…” continues the row before it."""
    subjects_of_rows, begun = [], ""
    for row in ROWS:
        threat, measure, _ = (cell.strip() for cell in row.strip("|").split("|"))
        if threat and not threat.startswith("…"):
            begun = threat
        subjects_of_rows.append(f"{begun} {threat} {measure}")
    return subjects_of_rows


@pytest.mark.parametrize(("row", "subject"), list(zip(ROWS, subjects(), strict=True)))
def test_named_test_shares_a_word_of_its_own_with_the_row(row: str, subject: str) -> None:
    """A test that was named for the wrong row shares none in two cases of three."""
    [(path, name)] = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
    assert (stems(subject) - common_stems()) & stems_of_test(path, name)


def test_no_test_proves_two_rows() -> None:
    in_table = [named for row in ROWS for named in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row)]
    assert [named for named, count in Counter(in_table).items() if count > 1] == []


def test_table_is_read_at_all() -> None:
    assert len(ROWS) > 100
