"""Mutants of a source file: each differs from it in one place, as somebody might have written it by mistake.

A number below ten becomes one more, a larger one twice as large. Left alone are words (what is said to a person or a
log is not judged) and where long ones are cut off, annotations, decorators and f-strings.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """One change: `start` and `end` are byte offsets of what is replaced; `lines` those of its statement."""

    path: str
    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int
    lines: tuple[int, int]

    @property
    def name(self) -> str:
        return f"{self.path}:{self.start}:{self.kind}:{self.after}"

    def of(self, source: bytes) -> bytes:
        """The mutated source."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants_of(source: bytes, path: str) -> list[Mutant]:
    """Every mutant of a file that still compiles, in the order of its places."""
    finder = _Finder(source, path)
    finder.visit(ast.parse(source))
    found = []
    for one in finder.found:
        try:
            compile(one.of(source), path, "exec")
        except SyntaxError:
            continue
        found.append(one)
    return sorted(found, key=lambda one: (one.start, one.kind))


def mutants_under(folder: Path, root: Path) -> list[Mutant]:
    """Of every file of a folder; paths are relative to `root`."""
    found: list[Mutant] = []
    for path in sorted(folder.rglob("*.py")):
        found += mutants_of(path.read_bytes(), path.relative_to(root).as_posix())
    return found


def sampled(mutants: Sequence[Mutant], many: int, seed: int) -> list[Mutant]:
    """So many of them, drawn by a seed: the same on every machine, and a larger sample holds the smaller one."""
    drawn = sorted(mutants, key=lambda one: hashlib.sha256(f"{seed}|{one.name}".encode()).digest())
    return sorted(drawn[:many] if many else drawn, key=lambda one: (one.path, one.start, one.kind))


class _Finder(ast.NodeVisitor):
    def __init__(self, source: bytes, path: str) -> None:
        self.found: list[Mutant] = []
        self._source, self._path = source, path
        self._begins = [0]
        for line in source.splitlines(keepends=True):
            self._begins.append(self._begins[-1] + len(line))
        self._lines = (1, 1)

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self._lines = (node.lineno, _header_end(node))
        super().visit(node)

    def _mutate(self, node: ast.expr | ast.stmt, kind: str, after: str) -> None:
        start = self._begins[node.lineno - 1] + node.col_offset
        end = self._begins[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = " ".join(self._source[start:end].decode().split())
        self.found.append(Mutant(self._path, node.lineno, kind, before, after, start, end, self._lines))

    # -- left alone ---------------------------------------------------------------------------------------------
    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arguments(self, node: ast.arguments) -> None:
        for default in (*node.defaults, *node.kw_defaults):
            if default is not None:
                self.visit(default)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.visit(node.args)
        for statement in node.body:
            self.visit(statement)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_Slice(self, node: ast.Slice) -> None:
        for bound in (node.lower, node.upper):
            cut = isinstance(bound, ast.Constant) and isinstance(bound.value, int) and bound.value >= 100
            if bound is not None and not cut:
                self.visit(bound)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    # -- statements ---------------------------------------------------------------------------------------------
    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await) and not ast.unparse(node).startswith("log."):
            self._mutate(node, "deleted", "pass")
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self._mutate(node, "deleted", "pass")
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._mutate(node, "deleted", "pass")
        self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._mutate(node, "deleted", "pass")
        self.generic_visit(node)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._mutate(node, "deleted", "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self._mutate(node, "deleted", "pass")

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            if not (isinstance(node.value, ast.Constant) and node.value.value is None):
                self._mutate(node, "return", "return None")
            self.visit(node.value)

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        test = node.test
        if ast.unparse(test) == "TYPE_CHECKING":
            return
        if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
            self._mutate(test, "condition", f"(not ({ast.unparse(test)}))")
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self.visit_If(node)

    # -- expressions --------------------------------------------------------------------------------------------
    def visit_Compare(self, node: ast.Compare) -> None:
        for place, operator in enumerate(node.ops):
            others = list(node.ops)
            others[place] = _COMPARED[type(operator)]()
            changed = ast.Compare(node.left, others, node.comparators)
            self._mutate(node, "comparison", f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._mutate(node, "boolean", f"({ast.unparse(ast.BoolOp(other, node.values))})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._mutate(node, "boolean", f"({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        other = _COMPUTED.get(type(node.op))
        if other is not None and not any(map(_joins, (node.left, node.right))):
            changed = ast.BinOp(node.left, other(), node.right)
            self._mutate(node, "arithmetic", f"({ast.unparse(changed)})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._mutate(node, "constant", str(not node.value))
        elif isinstance(node.value, int | float):
            self._mutate(node, "constant", repr(node.value + 1 if node.value < 10 else 2 * node.value))


def _joins(node: ast.expr) -> bool:
    """Whether `+` joins texts or lists here."""
    text = isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    return text or isinstance(node, ast.JoinedStr | ast.List | ast.Tuple | ast.ListComp)


def _header_end(node: ast.stmt) -> int:
    """The last line of a statement, of a compound one that of its head."""
    first_of_body = next(_bodies(node), None)
    last = node.end_lineno or node.lineno
    return last if first_of_body is None else max(node.lineno, first_of_body.lineno - 1)


def _bodies(node: ast.stmt) -> Iterator[ast.stmt]:
    yield from getattr(node, "body", ())
    for case in getattr(node, "cases", ()):
        yield from case.body
