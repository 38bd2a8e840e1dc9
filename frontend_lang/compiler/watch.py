"""What a rewritten function (rewrite.py) asks while it is traced: what Python would not ask a
stand-in, and each call.

A call of the program's own Python is rewritten in its turn; one of Python's own functions may get a
stand-in where it only moves it (`join`, `append`), or asks it as Python code would (`sorted`).
Whatever else is given one is refused, with the line: it might look at the characters.
"""

from __future__ import annotations

import builtins
import collections
import contextlib
import copy
import dataclasses
import functools
import itertools
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from ...errors import ProgramError
from ..expr import Expr
from ..where import is_frontend
from .rewrite import is_rewritten, rewritten
from .symbols import BEGIN, MadeText, TextSymbol, ValueSymbol, formatted, plain

if TYPE_CHECKING:
    from .tracing import Tracing

_PACKAGE = __name__.rpartition(".frontend_lang.")[0]
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIBRARIES = tuple(
    path
    for path in (
        *sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages(),
        *(os.path.join(_ROOT, part) + os.sep for part in ("grammar", "espalier", "compat")),
    )
    if path not in (sys.prefix, sys.base_prefix)
)  # fmt: skip
"""Where Python code lies that is not the program's own."""
_HIGHER = (map, filter, sorted, min, max, functools.reduce)
_ASKING = (
    *(len, repr, format, iter, next, sum, any, all, print, hash, abs, round, divmod, pow),
    *(getattr, setattr, copy.copy, copy.deepcopy, *_HIGHER),
)
_TESTS = (isinstance, issubclass, hasattr, callable, id, type, vars, dir)
_CONTAINERS = (list, tuple, dict, set, frozenset, collections.deque)
_MOVING = (
    *(bool, int, float, list, tuple, dict, set, frozenset, enumerate, zip, reversed, slice),
    *(
        range,
        map,
        filter,
        functools.partial,
        collections.deque,
        collections.defaultdict,
        collections.OrderedDict,
    ),
    *(each for each in vars(itertools).values() if isinstance(each, type)),
)


class Watch:
    """See the module's docstring."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._made: dict[FunctionType, FunctionType | None] = {}

    def function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The program's function, watched. Raises ProgramError where its source is not there."""
        made = self._watched(function) if isinstance(function, FunctionType) else None
        if made is None:
            raise ProgramError(
                f"the source of {getattr(function, '__name__', function)} is not there",
                where=self._tracing.line(),
                hint="compile() reads how a program treats its values: define it in a file.",
            )
        return made

    # -- what Python asks no object ----------------------------------------------------------------

    def text(self, value: Any) -> Any:
        """A result; text with marks in it says so from here on."""
        if type(value) is str and BEGIN in value:
            return MadeText(self._tracing, value)
        return value

    def known(self, value: Any) -> Any:
        """A value that is about to be looked at where no stand-in is asked."""
        if isinstance(value, TextSymbol | ValueSymbol) and value._choices is not None:
            return self._tracing.look(value._slot, value._choices, "a look at it")
        self._refuse_one(value, "a look at it")
        return value

    def same(self, left: Any, right: Any) -> bool:
        """`left is right`."""
        for one, other in ((left, right), (right, left)):
            if isinstance(one, MadeText) and other is None:
                return False
            if isinstance(one, TextSymbol | ValueSymbol) and other is None:
                if one._type is not None:
                    return False
                if one._choices is not None:
                    found = self._tracing.look(one._slot, one._choices, "is")
                    return found is None
            self._refuse_one(one, "is")
        return left is right

    def within(self, left: Any, right: Any) -> bool:
        """`left in right`."""
        if isinstance(right, str) and not isinstance(right, TextSymbol | MadeText):
            left = self.known(left)
        return left in right

    def formatted(self, left: Any, right: Any) -> Any:
        """`left % right`."""
        if isinstance(left, str) and (isinstance(left, MadeText) or found(right) is not None):
            return formatted(self._tracing, left, right)
        return self.text(left % right)

    def taken(self, value: Any) -> Any:
        """What is added to a state: a function is called for each branch."""
        if isinstance(value, FunctionType) and not _is_ours(value):
            return self._watched(value) or value
        return value

    def guarded(self, line: int) -> contextlib.AbstractContextManager[None]:
        """A block whose exceptions a handler may catch."""
        return _guard(self._tracing, line)

    def entered(self, manager: Any) -> Any:
        """A context manager, which may swallow what its block raises."""
        code = getattr(getattr(manager, "gen", None), "gi_code", None)
        if code is not None and is_frontend(code.co_filename):
            return manager
        return _Entered(manager, self._tracing)

    # -- calls -------------------------------------------------------------------------------------

    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """`function(*args, **kwargs)`."""
        return self.text(self._call(function, args, kwargs))

    def _call(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if isinstance(function, functools.partial):
            return self._call(
                function.func, (*function.args, *args), {**function.keywords, **kwargs}
            )
        if isinstance(function, type):
            return self._make(function, args, kwargs)
        target: Any = function
        bound: tuple[Any, ...] = ()
        if isinstance(function, MethodType):
            target, bound = function.__func__, (function.__self__,)
        elif not isinstance(function, FunctionType):
            target, bound = vars(type(function)).get("__call__"), (function,)
        if not isinstance(target, FunctionType) or _among(function, (copy.copy, copy.deepcopy)):
            return self._call_native(function, args, kwargs)
        if not _is_ours(target):
            return self._call_python(target, (*bound, *args), kwargs)
        if target.__code__.co_name in ("gen", "select", "gen_int", "gen_string"):
            for each in (*args, *kwargs.values()):
                if isinstance(each, ValueSymbol):
                    self._refuse_one(each, "an option of a call")
        if target.__code__.co_name not in ("set_var", "call"):  # they keep what they are given
            args = [_lowered(each) for each in args]
            kwargs = {name: _lowered(each) for name, each in kwargs.items()}
        return function(*args, **kwargs)

    def _call_python(
        self, function: FunctionType, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        holds = found((args, kwargs))
        if holds is None and function.__code__.co_filename.startswith(LIBRARIES):
            return function(*args, **kwargs)
        made = self._watched(function)
        if made is None:
            if holds is not None:
                self._refuse_one(holds, f"{function.__qualname__}, whose source is not there")
            made = function
        return made(*args, **kwargs)

    def _call_native(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if _among(function, _TESTS) and args:
            return self._test(function, args, kwargs)
        owner = getattr(function, "__self__", None)
        if _among(function, _HIGHER) or isinstance(owner, list):
            kwargs = {n: self._called(v) if n == "key" else v for n, v in kwargs.items()}
        if _among(function, _HIGHER):
            args = [self._called(each) for each in args]
        holds = found((args, kwargs))
        if holds is not None and not self._moves(function, owner, args):
            name = getattr(function, "__qualname__", None) or type(function).__name__
            self._refuse_one(holds, name)
        return function(*args, **kwargs)

    def _moves(self, function: Any, owner: Any, args: Sequence[Any]) -> bool:
        """Whether it gives stand-ins on as they are, or asks them as Python code would."""
        if function is getattr and len(args) != 2:
            return False
        if _among(function, _ASKING) or isinstance(owner, TextSymbol | ValueSymbol | MadeText):
            return True
        name = getattr(function, "__name__", "")
        if isinstance(owner, str):
            fixed = name == "replace" and found((args[0], *args[2:])) is None
            return fixed or name in ("join", "format", "format_map")
        return isinstance(owner, _CONTAINERS)

    def _make(self, tp: type, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """An object of a class."""
        if tp is type and args:
            return self._test(tp, args, kwargs)
        if tp in _HIGHER:
            args = [self._called(each) for each in args]
        made: Any = tp
        init, holds = made.__init__, found((args, kwargs))
        own = isinstance(init, FunctionType) and not init.__code__.co_filename.startswith("<")
        if own and made.__new__ is object.__new__ and type(tp) is type and not _is_ours(init):
            made = object.__new__(tp)
            self._call_python(init, (made, *args), kwargs)
            return made
        if holds is not None and not _only_keeps(tp):
            one_text = tp is str and len(args) == 1 and not kwargs
            if not one_text and tp not in _MOVING:
                self._refuse_one(holds, tp.__qualname__)
        return tp(*args, **kwargs)

    def _test(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """isinstance() and its kin."""
        one, *rest = args
        if isinstance(one, TextSymbol | ValueSymbol) and function in (isinstance, type):
            if one._choices is not None:
                one = self._tracing.look(one._slot, one._choices, function.__name__)
            elif one._type is not None:
                return issubclass(one._type, *rest) if rest else one._type
        self._refuse_one(one, function.__name__)
        return function(one, *rest, **kwargs)

    # -- inside ------------------------------------------------------------------------------------

    def _watched(self, function: FunctionType) -> FunctionType | None:
        if is_rewritten(function):
            return function
        if function not in self._made:
            self._made[function] = rewritten(function, self)
        return self._made[function]

    def _called(self, value: Any) -> Any:
        """What a function of Python's own will call, called by the watch."""
        if isinstance(value, ValueSymbol) or (
            isinstance(value, FunctionType) and is_rewritten(value)
        ):
            return value
        plain_class = isinstance(value, type) and value in (str, bool, int, float, list, tuple)
        return functools.partial(self.call, value) if callable(value) and not plain_class else value

    def _refuse_one(self, value: Any, what: str) -> None:
        if isinstance(value, TextSymbol | ValueSymbol):
            self._tracing.refuse(value._slot, what)
        if isinstance(value, str) and BEGIN in plain(value):
            self._tracing.refuse_text(plain(value), what)


class _Entered:
    """A context manager of the program's own."""

    def __init__(self, manager: Any, tracing: Tracing) -> None:
        self._manager = manager
        self._guard = _guard(tracing, None)

    def __enter__(self) -> Any:
        made = type(self._manager).__enter__(self._manager)
        self._guard.__enter__()
        return made

    def __exit__(self, *how: Any) -> Any:
        self._guard.__exit__(*how)
        return type(self._manager).__exit__(self._manager, *how)


@contextlib.contextmanager
def _guard(tracing: Tracing, line: int | None) -> Iterator[None]:
    tracing.guards.append(line)
    try:
        yield
    finally:
        tracing.guards.pop()


def _among(value: object, group: Sequence[object]) -> bool:
    return any(value is each for each in group)


def _is_ours(function: FunctionType) -> bool:
    """Whether it is the language's own."""
    module = function.__module__ or ""
    parts = tuple(f"{_PACKAGE}.{part}" for part in ("frontend_lang", "compat", "errors", "types"))
    return is_frontend(function.__code__.co_filename) or module.startswith(parts)


def _only_keeps(tp: type) -> bool:
    """Whether making one looks at nothing that it is given."""
    if hasattr(tp, "__post_init__"):
        return False
    simple = dataclasses.is_dataclass(tp) or (issubclass(tp, tuple) and hasattr(tp, "_fields"))
    return simple or (issubclass(tp, BaseException) and tp.__module__ == builtins.__name__)


def _lowered(value: Any) -> Any:
    """Text with marks as the language's own functions take it: they tell its marks themselves."""
    if isinstance(value, MadeText):
        return plain(value)
    if type(value) in (list, tuple) and any(isinstance(each, MadeText) for each in value):
        return type(value)(map(_lowered, value))
    return value


def found(value: Any, depth: int = 6) -> Any:
    """A stand-in, or text with marks, that the value holds; None where it holds none."""
    if isinstance(value, TextSymbol | ValueSymbol):
        return value
    if isinstance(value, str):
        return value if BEGIN in plain(value) else None
    if depth == 0 or value is None or isinstance(value, int | float | bytes | type | Expr):
        return None
    held: Any = ()
    if isinstance(value, Mapping):
        held = (*value.keys(), *value.values())
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        held = value
    elif not isinstance(value, FunctionType | MethodType) and not type(value).__module__.startswith(
        _PACKAGE + "."
    ):
        held = (*getattr(value, "__dict__", {}).values(), *_slotted(value))
    return next((one for each in held if (one := found(each, depth - 1)) is not None), None)


def _slotted(value: Any) -> Iterator[Any]:
    for tp in type(value).__mro__:
        names = vars(tp).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if hasattr(value, name):
                yield getattr(value, name)
