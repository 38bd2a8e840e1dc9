"""From clauses to IR: one expression per conjunction, one rule per kind of array and object.

All scalars a conjunction allows become one `Term`, so that terms (a JSON string, a number) recur
and their rows are shared. Arrays and objects become rules, made one at a time from a queue: neither
recursion in the schema nor its depth is recursion here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ..errors import GrammarError
from . import ir
from .json_arrays import array_expr
from .json_check import clause_accepts, test_term
from .json_clauses import NOTHING, Arrays, Clause, Conj, Members, Objects, Strings
from .json_document import child
from .json_keywords import Refusal
from .json_lengths import of_length
from .json_logic import Logic
from .json_numbers import Numbers
from .json_numerals import MAX_EXCLUDED, numerals, point_numerals
from .json_objects import object_expr
from .json_scopes import plain
from .json_strings import ANY_CHAR, StringText
from .json_text import Const, Layout

_MAX_RULES = 50_000
_MAX_SHAPES = 16_000
"""Kinds of arrays and objects: each takes several expressions, of which a grammar has 50,000."""


class Builder:
    """Makes the rules of one grammar. `run` works the queue until every rule has its body."""

    NOTHING: ir.Expr = ir.Choice(())

    def __init__(self, logic: Logic, layout: Layout, *, any_order: bool) -> None:
        self.logic = logic
        self.layout = layout
        self.any_order = any_order
        self.text = StringText(ascii=layout.ascii)
        self.rules: dict[str, ir.Expr] = {}
        self._values: dict[Conj, ir.Expr] = {}
        self._shapes: dict[Arrays | Objects, ir.Ref] = {}
        self._queue: deque[tuple[str, Callable[[], ir.Expr]]] = deque()
        self._names: dict[str, int] = {}
        self.places: dict[str, str] = {"start": "#"}
        """The location in the schema that a rule stands for, or that makes it hopeless."""

    def run(self) -> None:
        """Make the bodies of all rules asked for so far, and of those they ask for."""
        while self._queue:
            name, body = self._queue.popleft()
            self.rules[name] = body()

    def define(self, name: str, body: ir.Expr) -> None:
        """Add a rule under a name that is not in use."""
        if len(self.rules) >= _MAX_RULES:
            raise GrammarError("the schema needs too many rules", expected=f"<= {_MAX_RULES:,}")
        self.rules[name] = body

    def rule(self, name: str, body: ir.Expr) -> ir.Ref:
        self.define(name, body)
        return ir.Ref(name)

    def blame(self, rule: str, name: str) -> None:
        """Note that `rule` has no texts because its member `name` can have no value."""
        place = child(self.places.get(rule, "#"), "properties", name)
        if self.logic.document.exists(place):
            self.places[rule] = place

    def nothing(self, expr: ir.Expr) -> bool:
        """Whether an expression of `value` stands for no text at all."""
        return expr == self.NOTHING

    def value(self, conj: Conj) -> ir.Expr:
        """The JSON texts of the values in `conj`: a term, a rule's name, or nothing."""
        found = self._values.get(conj)
        if found is None:
            found = self._values[conj] = self._value(conj)
        return found

    def _value(self, conj: Conj) -> ir.Expr:
        scalars: dict[ir.Regular, None] = {}
        shapes: dict[ir.Ref, None] = {}
        where = " & ".join(plain(place) for place, _ in conj if isinstance(place, str)) or "#any"
        for clause in self.logic.expand(conj):
            if clause.values is not None:
                self._constants(clause, where, scalars, shapes)
                continue
            for scalar in self._scalars(clause, where):
                scalars[scalar] = None
            if "array" in clause.types:
                shapes[self._shape(clause.arrays, where)] = None
            if "object" in clause.types:
                shapes[self._shape(clause.objects, where)] = None
        choices: list[ir.Expr] = []
        if scalars:
            terms = tuple(scalars)
            choices.append(ir.Term(terms[0] if len(terms) == 1 else ir.Alt(terms)))
        choices.extend(shapes)
        if len(choices) == 1:
            return choices[0]
        if not choices:
            return self.NOTHING
        name = self._name(where)
        self.places[name] = where.split(" & ", 1)[0]
        self.define(name, ir.Choice(tuple(choices)))
        return ir.Ref(name)

    # -- scalars

    def _scalars(self, clause: Clause, where: str) -> list[ir.Regular]:
        found: list[ir.Regular] = []
        excluded = clause.excluded
        if "null" in clause.types and ("null",) not in excluded:
            found.append(ir.Lit("null"))
        if "boolean" in clause.types:
            for word, value in (("true", True), ("false", False)):
                if ("boolean", value) not in excluded:
                    found.append(ir.Lit(word))
        if "number" in clause.types:
            points = frozenset(value[1] for value in excluded if value[0] == "number")
            numbers = clause.numbers
            if points:
                numbers = numbers.meet(Numbers(excluded=points))
            found.append(self._numerals(numbers, where))
        if "string" in clause.types:
            words = sorted(value[1] for value in excluded if value[0] == "string")
            found.append(self._strings(clause.strings, words))
        return found

    def _numerals(self, numbers: Numbers, where: str) -> ir.Regular:
        if not numbers.whole and len(numbers.excluded) > MAX_EXCLUDED:
            self.logic.drop(
                Refusal(
                    f"at most {MAX_EXCLUDED} numbers can be excluded where fractions are allowed",
                    got=f"{len(numbers.excluded):,}",
                    where=where.split(" & ", 1)[0],
                    hint='Use "type": "integer"',
                )
            )
            numbers = replace(numbers, excluded=frozenset())
        term = numerals(numbers)
        if term is None:
            steps = ", ".join(str(step) for step, _ in sorted(numbers.steps))
            self.logic.drop(
                Refusal(
                    f"`multipleOf` {steps} is only supported where bounds leave 1,000 multiples",
                    where=where.split(" & ", 1)[0],
                    hint="Add `minimum` and `maximum`, or list the numbers with `enum`",
                )
            )
            return self._numerals(replace(numbers, steps=frozenset()), where)
        return term

    def _strings(self, strings: Strings, excluded: list[str]) -> ir.Regular:
        if not strings.tests and not excluded:
            return self.text.lengths(strings.low, strings.high)
        return self.text.canonical(self._decoded(strings, excluded))

    def _decoded(self, strings: Strings, excluded: list[str]) -> ir.Regular:
        tests: list[ir.Regular] = []
        for kind, source, wanted in sorted(strings.tests, key=lambda test: (not test[2], *test)):
            tests.append(self.test(kind, source, wanted))
        if strings.low or strings.high is not None:
            positive = sum(wanted for _, _, wanted in strings.tests)
            for index in range(positive):
                folded = of_length(tests[index], strings.low, strings.high)
                if folded is not None:
                    tests[index] = folded
                    break
            else:
                tests.append(ir.Rep(ANY_CHAR, strings.low, strings.high))
        if excluded:
            tests.append(ir.Not(ir.Alt(tuple(map(ir.Lit, excluded)))))
        return tests[0] if len(tests) == 1 else ir.And(tuple(tests))

    def test(self, kind: str, source: str, wanted: bool) -> ir.Regular:
        """The decoded strings that pass a string test, or fail it."""
        term = test_term(kind, source, self.logic.ascii, wanted)
        return term if wanted else ir.Not(term)

    def name_terms(self, names: Conj) -> list[ir.Regular]:
        """Terms that a member's name must all match, as a decoded string; none for any name."""
        if not names:
            return []
        choices: list[ir.Regular] = []
        for clause in self.logic.expand(names):
            if "string" not in clause.types:
                continue
            words = sorted(value[1] for value in clause.excluded if value[0] == "string")
            if clause.values is not None:
                fit = [v[1] for v in clause.values if clause_accepts(self.logic, clause, v)]
                choices.extend(
                    ir.Lit(word) for word in sorted(w for w in fit if isinstance(w, str))
                )
            elif clause.strings == Strings() and not words:
                return []
            else:
                choices.append(self._decoded(clause.strings, words))
        return [ir.Alt(tuple(choices))]

    # -- constants

    def _constants(
        self,
        clause: Clause,
        where: str,
        scalars: dict[ir.Regular, None],
        shapes: dict[ir.Ref, None],
    ) -> None:
        fit = [v for v in clause.values or () if clause_accepts(self.logic, clause, v)]
        for value in sorted(fit, key=_sort_key):
            if value[0] == "number":
                for text in point_numerals(value[1], clause.numbers):
                    scalars[ir.Lit(text)] = None
            elif value[0] == "string":
                scalars[self.text.canonical(ir.Lit(value[1]))] = None
            elif value[0] == "boolean":
                scalars[ir.Lit("true" if value[1] else "false")] = None
            elif value[0] == "null":
                scalars[ir.Lit("null")] = None
            elif value[0] == "array":
                items = tuple(((item, True),) for item in value[1:])
                fixed = Arrays(items, NOTHING, len(items), len(items))
                shapes[self._shape(fixed, where)] = None
            else:
                names = self.logic.orders.get(value) or tuple(name for name, _ in value[1:])
                by_name = dict(value[1:])
                named = tuple((name, ((by_name[name], True),)) for name in names)
                only = Objects((Members(named, (), NOTHING),), required=names)
                shapes[self._shape(only, where)] = None

    # -- rules

    def _shape(self, shape: Arrays | Objects, where: str) -> ir.Ref:
        found = self._shapes.get(shape)
        if found is None:
            if len(self._shapes) >= _MAX_SHAPES:
                raise GrammarError(
                    expected=f"at most {_MAX_SHAPES:,} different kinds of arrays and objects",
                    got="more",
                    where=where.split(" & ", 1)[0],
                )
            name = self._name(where)
            self.places[name] = where.split(" & ", 1)[0]
            found = self._shapes[shape] = ir.Ref(name)
            if isinstance(shape, Arrays):
                arrays = shape
                self._queue.append((name, lambda: array_expr(self, name, arrays)))
            else:
                objects = shape
                self._queue.append((name, lambda: object_expr(self, name, objects)))
        return found

    def _name(self, where: str) -> str:
        """A rule name not in use yet: where the schema stands, numbered if need be."""
        while True:
            count = self._names[where] = self._names.get(where, 0) + 1
            name = where if count == 1 else f"{where}~{count}"
            if name not in self.rules:
                return name


def _sort_key(value: Const) -> tuple[str, str]:
    return (value[0], repr(value[1:]))
