"""Mutants of a module: in each, one step of one function is left out or turned around."""

from __future__ import annotations

import ast
from contextlib import contextmanager
from copy import copy
from inspect import CO_GENERATOR
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_TURNED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
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
"""What a comparison becomes: one off at its edge, or its opposite."""
_OTHER: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SIGNS: Final[dict[type[ast.operator], type[ast.operator]]] = {ast.Add: ast.Sub, ast.Sub: ast.Add}


class Mutant(NamedTuple):
    """A function with one step changed."""

    name: str
    """Whose it is, and what became of what: ``Span.over: x → False``."""
    function: Any
    """The original."""
    code: CodeType

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let it do the function's work, whoever calls that."""
        original, self.function.__code__ = self.function.__code__, self.code
        try:
            yield
        finally:
            self.function.__code__ = original


def mutants(module: ModuleType) -> Iterator[Mutant]:
    """Yield each mutant of a module's functions and methods."""
    for top in ast.parse(Path(str(module.__file__)).read_text("utf-8")).body:
        if isinstance(top, ast.FunctionDef):
            yield from _of_function(top, top.name, getattr(module, top.name))
        elif isinstance(top, ast.ClassDef):
            members = vars(getattr(module, top.name))
            for node in top.body:
                if isinstance(node, ast.FunctionDef):
                    yield from _of_function(node, f"{top.name}.{node.name}", members[node.name])


def _of_function(tree: ast.FunctionDef, name: str, what: Any) -> Iterator[Mutant]:  # noqa: ANN401 - what a class may hold
    what = getattr(what, "fget", what)  # of a property
    function = getattr(what, "__wrapped__", what)  # of a static method, or a decorated function
    assert isinstance(function, FunctionType), name
    tree.decorator_list = []
    for node in list(ast.walk(tree)):
        for words, new in _changes(node):
            _Swap(node, new).visit(tree)
            module = ast.fix_missing_locations(ast.Module(body=[tree], type_ignores=[]))
            consts = compile(module, name, "exec").co_consts
            # by its name, since Python 3.14 has a function for the annotations beside it
            codes = (one for one in consts if isinstance(one, CodeType))
            code = next(one for one in codes if one.co_name == tree.name)
            _Swap(new, node).visit(tree)
            assert not (code.co_flags ^ function.__code__.co_flags) & CO_GENERATOR, words
            yield Mutant(f"{name}: {words}", function, code)


class _Swap(ast.NodeTransformer):
    """Puts one node into the place of another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:  # noqa: ANN401 - as it is declared
        return self.new if node is self.old else self.generic_visit(node)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:  # noqa: C901, PLR0912 - one case for each kind
    """Yield what a node can become, in words and as a node."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test):
            for value in (False, True):
                yield f"{ast.unparse(test)} → {value}", _with(node, test=ast.Constant(value))
        case ast.BoolOp(values=values):
            for index, operand in enumerate(values):
                rest = values[:index] + values[index + 1 :]
                words = f"{ast.unparse(node)} without {ast.unparse(operand)}"
                yield words, _with(node, values=rest) if len(rest) > 1 else rest[0]
        case ast.comprehension(ifs=ifs):
            for index, test in enumerate(ifs):
                words = f"… if {ast.unparse(test)} without it"
                yield words, _with(node, ifs=ifs[:index] + ifs[index + 1 :])
        case ast.Compare(ops=ops, comparators=comparators):
            for index, op in enumerate(ops):
                turned = [*ops[:index], _TURNED[type(op)](), *ops[index + 1 :]]
                new = _with(node, ops=turned)
                yield f"{ast.unparse(node)} → {ast.unparse(new)}", new
            if len(ops) > 1:
                lower = _with(node, left=comparators[0], ops=ops[1:], comparators=comparators[1:])
                yield f"{ast.unparse(node)} without its lower bound", lower
                upper = _with(node, ops=ops[:-1], comparators=comparators[:-1])
                yield f"{ast.unparse(node)} without its upper bound", upper
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"{ast.unparse(node)} without its not", operand
        case ast.BinOp(op=op) if type(op) in _SIGNS:
            new = _with(node, op=_SIGNS[type(op)]())
            yield f"{ast.unparse(node)} → {ast.unparse(new)}", new
        case ast.Call(func=ast.Name(id=name)) if name in _OTHER:
            new = _with(node, func=ast.Name(_OTHER[name], ast.Load()))
            yield f"{ast.unparse(node)} → {ast.unparse(new)}", new
        case ast.Expr(value=ast.Constant()) | ast.Return(value=ast.Constant(value=None)):
            pass  # a docstring, and what comes without it as well
        case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
            new = ast.If(ast.Constant(value=False), [node], [])  # so that it stays a generator
            yield f"{ast.unparse(node)} left out", new
        case (
            ast.Expr()
            | ast.Assign()
            | ast.AugAssign()
            | ast.Delete()
            | ast.Return()
            | ast.Raise()
            | ast.Continue()
            | ast.Break()
        ):
            yield f"{ast.unparse(node)} left out", ast.Pass()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """Return a node like it but for some fields."""
    new = copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new
