"""Names say what they hold: no local, parameter, function or field has a name that fits anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FORBIDDEN = frozenset({"one", "found", "made", "there", "said", "what"})
#: Published names: the column of the audit log, and the field of the API that shows it.
PERMITTED = {
    ("backend/datagen/store/tables/installation.py", "what"),
    ("backend/datagen/web/api/studies.py", "what"),
}


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of each variable, parameter, function, class, import and field that source text binds."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name
            case ast.MatchMapping(rest=str(name)):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def test_every_kind_of_binding_is_read() -> None:
    source = (
        "import a as n1\n"
        "def n2(n3, *n4, n5=0, **n6):\n"
        "    n7, (n8, *n9) = 1, (2, 3)\n"
        "    with a as n10: pass\n"
        "    if (n11 := n7): pass\n"
        "    return [n12 for n12 in n9], lambda n13: n13\n"
        "class n14:\n"
        "    n15: int\n"
        "    def n16(self):\n"
        "        self.n17 = self.other.read = 0\n"
        "try: pass\n"
        "except ValueError as n18: pass\n"
        "match a:\n"
        "    case [n19, *n20]: pass\n"
        "    case {'key': n21, **n22}: pass\n"
        "    case str() as n23: pass\n"
        "async def n24(): pass\n"
    )
    names = {name for _, name in bound_names(ast.parse(source))}
    assert names == {"self"} | {f"n{number}" for number in range(1, 25)}


@pytest.mark.parametrize("folder", ["backend", "scripts", "tests"])
def test_names_say_what_they_hold(folder: str) -> None:
    files = [path for path in (REPOSITORY / folder).rglob("*.py") if "third_party" not in path.parts]
    assert files
    wrong = [
        f"{place}:{line}: {name}"
        for path in sorted(files)
        for place in [path.relative_to(REPOSITORY).as_posix()]
        for line, name in bound_names(ast.parse(path.read_text(encoding="utf-8")))
        if name in FORBIDDEN and (place, name) not in PERMITTED
    ]
    assert not wrong, "name it after its content, as row, task, sample or missing_keys are:\n" + "\n".join(wrong)
