"""Names of types that nothing but annotations use: those of functions and of variables, which nobody ever reads.

Annotations in a class are another matter: what decodes JSON goes by them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path


def merely_annotating(sources: Mapping[str, str]) -> set[tuple[str, str]]:
    """Module and name of each type that `sources`, by the names of their modules, name and never use as they run."""
    modules = {name: ast.parse(source) for name, source in sources.items()}
    named = {(module, name) for module, tree in modules.items() for name in _types_named_in(tree)}
    used: set[tuple[str, str]] = set()
    attributes: set[str] = set()  # of whatever; among them may be a module
    for module, tree in modules.items():
        found = _Used()
        found.visit(tree)
        used |= {(found.imported.get(name, module), name) for name in found.names}
        attributes |= found.attributes
    return {(module, name) for module, name in named - used if name not in attributes}


def merely_annotating_in(root: Path, packages: Iterable[str]) -> dict[str, set[str]]:
    """The names of such types by the file in which they are given, below `root`."""
    files = [file for package in packages for file in (root / package).rglob("*.py")]
    names = {".".join(file.relative_to(root).with_suffix("").parts): file for file in files}
    found: dict[str, set[str]] = {}
    for module, name in merely_annotating({name: file.read_text() for name, file in names.items()}):
        found.setdefault(str(names[module].relative_to(root)), set()).add(name)
    return found


def _types_named_in(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        match statement:
            case ast.Assign([ast.Name(name)], ast.Subscript() | ast.BinOp(op=ast.BitOr())):
                yield name


class _Used(ast.NodeVisitor):
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.imported: dict[str, str] = {}  # names, and from where
        self._in_class = False

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.names.add(node.id)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imported |= {alias.name: node.module or "" for alias in node.names}

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attributes.add(node.attr)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for each in chain(node.decorator_list, node.bases, node.keywords):
            self.visit(each)
        self._in_class = True
        for statement in node.body:
            self.visit(statement)
        self._in_class = False

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        was, self._in_class = self._in_class, False
        for each in chain(node.decorator_list, node.args.defaults, node.args.kw_defaults, node.body):
            if each is not None:
                self.visit(each)
        self._in_class = was

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - ast's name

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._in_class:
            self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
