"""The imports of Datagen's modules, read from their source. An import is of a module, or of a name from a module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import datagen

ROOT = Path(datagen.__file__).parent


class Import(NamedTuple):
    """One imported module, or one name imported from a module."""

    line: int
    module: str  #: its full name
    name: str | None  #: the imported name, or None if the module itself is imported
    alias: str  #: the name that it gets in the importing module


class Use(NamedTuple):
    """An attribute of what a name stands for."""

    line: int
    name: str
    attribute: str


class _Parts(NamedTuple):
    """The parts of a file that tests look at."""

    imports: tuple[Import, ...]
    attributes: tuple[Use, ...]
    strings: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Module:
    """A source file."""

    name: str
    path: Path

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def package(self) -> str:
        """The package that the file belongs to; the file of a package belongs to this package itself."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    def imports(self) -> tuple[Import, ...]:
        """All imports of the file, at any place in it.

        Relative names are made absolute. Submodules are distinguished from other names.
        """
        return self._parts().imports

    def attributes(self) -> tuple[Use, ...]:
        """All expressions “name.attribute” of the file."""
        return self._parts().attributes

    def strings(self) -> tuple[tuple[int, str], ...]:
        """All strings of the file, each with its line."""
        return self._parts().strings

    @cache  # noqa: B019 -- modules are few and live as long as the tests
    def _parts(self) -> _Parts:
        """The parts that tests look at; the tree of a file is parsed once and not kept."""
        imports: list[Import] = []
        attributes: list[Use] = []
        strings: list[tuple[int, str]] = []
        for node in ast.walk(ast.parse(self.path.read_text(encoding="utf-8"))):
            match node:
                case ast.Import() | ast.ImportFrom():
                    imports += self._imports_of(node)
                case ast.Attribute(value=ast.Name(id=name)):
                    attributes.append(Use(node.lineno, name, node.attr))
                case ast.Constant(value=str(text)):
                    strings.append((node.lineno, text))
        return _Parts(tuple(imports), tuple(attributes), tuple(strings))

    def _imports_of(self, node: ast.Import | ast.ImportFrom) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, None, alias.asname or alias.name)
            return
        package = self.package.split(".")
        base = package[: len(package) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        for alias in node.names:
            called = alias.asname or alias.name
            if (submodule := f"{source}.{alias.name}") in modules():
                yield Import(node.lineno, submodule, None, called)
            else:
                yield Import(node.lineno, source, alias.name, called)


@cache
def modules() -> dict[str, Module]:
    """Return all source files of ``datagen`` as full name → module."""
    by_name = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(["datagen", *(part for part in parts if part != "__init__")])
        by_name[name] = Module(name, path)
    return by_name


def room_of(name: str) -> str:
    """Return the room of a module, given by its full name; empty for ``datagen`` itself."""
    return name.split(".")[1] if name.count(".") else ""
