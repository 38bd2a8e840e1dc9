"""A function's own code, rewritten so that a trace sees what Python hides from stand-ins.

Python asks no object for `is`, `isinstance` or the parts of an f-string, and gives its own
functions a text's characters. So each of these, and each call, goes through a `Watch` (watch.py),
whose name in the code no program can write. Lines and scopes stay what they are.
"""

from __future__ import annotations
import __future__

import ast
import copy
import functools
import linecache
from types import CellType, CodeType, FunctionType
from typing import Any

WATCH = "@watch"
_HIDDEN = ("super", "locals", "globals", "eval", "exec")  # what these do depends on who calls
_SEEN = (ast.MatchValue, ast.MatchOr, ast.MatchAs)
_FUTURE = functools.reduce(
    int.__or__, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)


def is_rewritten(function: FunctionType) -> bool:
    """Whether its calls go through a watch already."""
    return WATCH in function.__code__.co_freevars


def rewritten(function: FunctionType, watch: object) -> FunctionType | None:
    """The function, watched by `watch`; None where its source is not there."""
    code = _code(function.__code__, function.__code__.co_filename)
    if code is None:
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    cells[WATCH] = CellType(watch)
    closure = tuple(cells[name] for name in code.co_freevars)
    made = FunctionType(
        code, function.__globals__, function.__name__, function.__defaults__, closure
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


@functools.lru_cache(maxsize=1024)
def _code(code: CodeType, file: str) -> CodeType | None:
    linecache.checkcache(file)
    tree = _tree("".join(linecache.getlines(file)))
    found = None if tree is None else _found(tree, code)
    if found is None:
        return None
    node: Any = copy.deepcopy(found)
    arguments = node.args
    arguments.defaults, arguments.kw_defaults = [], [None] * len(arguments.kwonlyargs)
    if isinstance(node, ast.FunctionDef):
        node.decorator_list, node.returns = [], None
        node.name = f"@{node.name}"  # in the factory, the name is still the one outside
    for each in ast.walk(arguments):
        if isinstance(each, ast.arg):
            each.annotation = None
    node = _Rewriter().visit(node)
    factory: Any = ast.parse("def factory(): pass").body[0]
    factory.args.args = [ast.arg(name) for name in (WATCH, *code.co_freevars)]
    factory.body = [node if isinstance(node, ast.FunctionDef) else ast.Expr(node)]
    module = ast.fix_missing_locations(ast.Module([factory], []))
    whole = compile(
        module, file, "exec", flags=code.co_flags & _FUTURE, dont_inherit=True, optimize=-1
    )
    made = _inside(_inside(whole))
    if not set(made.co_freevars) <= {WATCH, *code.co_freevars}:
        return None
    return made.replace(co_name=code.co_name)


def _inside(code: CodeType) -> CodeType:
    return next(each for each in code.co_consts if isinstance(each, CodeType))


@functools.lru_cache(maxsize=64)
def _tree(source: str) -> ast.Module | None:
    try:
        return ast.parse(source) if source else None
    except (SyntaxError, ValueError):
        return None


def _found(tree: ast.Module, code: CodeType) -> ast.AST | None:
    """The node of the function; None where there is none, or where several may be it."""
    found: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            same = node.name == code.co_name
        elif isinstance(node, ast.Lambda):
            first, same = node.lineno, code.co_name == "<lambda>"
        else:
            continue
        if same and first == code.co_firstlineno and _names(node.args) == _arguments(code):
            found.append(node)
    private = any(name.startswith("_") and "__" in name[1:] for name in code.co_names)
    if len(found) != 1 or (private and _is_mangled(found[0])):
        return None
    return found[0]


def _names(given: ast.arguments) -> list[str]:
    return [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]


def _arguments(code: CodeType) -> list[str]:
    return list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def _is_mangled(node: ast.AST) -> bool:
    """Whether it uses names that only its class spells so."""
    names = [
        each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "")
        for each in ast.walk(node)
    ]
    return any(name.startswith("__") and not name.endswith("__") for name in names)


def _watched(what: str, *given: Any, keywords: Any = ()) -> ast.Call:
    method = ast.Attribute(ast.Name(WATCH, ast.Load()), what, ast.Load())
    return ast.Call(method, list(given), list(keywords))


def _place(method: ast.Attribute, node: ast.expr) -> None:
    """A call stands at its first line; a method's, at the line that its name ends in."""
    ast.copy_location(method, node)
    last = node.func if isinstance(node, ast.Call) else None
    if isinstance(last, ast.Attribute) and last.end_lineno != node.lineno:
        method.end_lineno, method.end_col_offset = last.end_lineno, last.end_col_offset
    else:
        method.end_lineno, method.end_col_offset = node.lineno, node.col_offset


class _Rewriter(ast.NodeTransformer):
    """Each expression that no stand-in is asked about, as a call of the watch."""

    def visit(self, node: ast.AST) -> Any:
        made = super().visit(node)
        if made is not node and isinstance(made, ast.AST) and isinstance(node, ast.expr):
            ast.copy_location(made, node)
            if isinstance(made, ast.Call) and isinstance(made.func, ast.Attribute):
                _place(made.func, node)
            ast.fix_missing_locations(made)
        return made

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                part.value = self.visit(part.value)
                spec = part.format_spec
                for each in spec.values if isinstance(spec, ast.JoinedStr) else ():
                    if isinstance(each, ast.FormattedValue):
                        each.value = _watched("known", self.visit(each.value))
        return _watched("text", node)

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in _HIDDEN:
            return node
        return _watched("call", node.func, *node.args, keywords=node.keywords)

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        self.generic_visit(node)
        if isinstance(node.op, ast.Mod):
            return _watched("formatted", node.left, node.right)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        self.generic_visit(node)
        node.value = _watched("taken", node.value)
        return node

    def visit_Compare(self, node: ast.Compare) -> Any:
        self.generic_visit(node)
        if len(node.ops) == 1:
            names = {ast.Is: "same", ast.IsNot: "same", ast.In: "within", ast.NotIn: "within"}
            name = names.get(type(node.ops[0]))
            if name is None:
                return node
            made: ast.expr = _watched(name, node.left, node.comparators[0])
            negated = isinstance(node.ops[0], ast.IsNot | ast.NotIn)
            return ast.UnaryOp(ast.Not(), made) if negated else made
        if any(isinstance(op, ast.Is | ast.IsNot | ast.In | ast.NotIn) for op in node.ops):
            node.left = _watched("known", node.left)
            node.comparators = [_watched("known", each) for each in node.comparators]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        self.generic_visit(node)
        if node.attr in ("__class__", "__dict__"):
            node.value = _watched("known", node.value)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        node.target = self.visit(node.target)
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_Try(self, node: Any) -> Any:
        self.generic_visit(node)
        if node.handlers:
            guard = ast.withitem(_watched("guarded", ast.Constant(node.lineno)))
            node.body = [ast.copy_location(ast.With([guard], node.body), node.body[0])]
            ast.fix_missing_locations(node.body[0])
        return node

    visit_TryStar = visit_Try

    def visit_With(self, node: ast.With) -> Any:
        self.generic_visit(node)
        for item in node.items:
            made = _watched("entered", item.context_expr)
            item.context_expr = ast.fix_missing_locations(
                ast.copy_location(made, item.context_expr)
            )
        return node

    def visit_Match(self, node: ast.Match) -> Any:
        self.generic_visit(node)
        patterns = [each for case in node.cases for each in ast.walk(case.pattern)]
        if any(isinstance(each, ast.pattern) and not isinstance(each, _SEEN) for each in patterns):
            made = _watched("known", node.subject)
            node.subject = ast.fix_missing_locations(ast.copy_location(made, node.subject))
        return node
