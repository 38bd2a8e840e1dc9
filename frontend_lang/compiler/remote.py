"""A compiled program run by a server in one request (`POST /v1/programs`), and what came of it.

The server runs the graph beside its cache; what needs the program's own code is done here: values
of its types are made from their texts, and what it returns is made of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from ...errors import (
    BranchError,
    EspalierError,
    IncompleteError,
    InvalidRequestError,
    NotSupportedError,
    ProgramError,
    VariableError,
)
from ...types import SamplingParams
from ..names import Named
from ..options import run_fields, run_seed, text_in_logprobs
from ..typed import value_of
from . import fill, ir

if TYPE_CHECKING:
    from .program import CompiledProgram

Told = Mapping[str, Any]
_OPTIONS = ("priority", "deadline")
_CUT = "incomplete_value"


class RemoteRun(Named):
    """What a run on a server came to. Reads are those of a state: `run["x"]`, `unnamed()`,
    `text()`, `ret_value`; `branch(0, 1)` reads what the second branch of the first fork set.

    seed: repeats it. usage: tokens of all its calls.
    """

    def __init__(
        self, compiled: CompiledProgram, arguments: Mapping[str, Any], answer: Told
    ) -> None:
        self._compiled = compiled
        self._arguments = arguments
        self._answer = answer
        self._path: tuple[int, ...] = ()
        self._told: dict[int, Told] = {value["number"]: value for value in answer["values"]}
        self._ops: dict[int, ir.Op] = {}
        self._returns = self._follow()
        self.seed: int = answer["seed"]
        self.usage: dict[str, Any] = answer["usage"]

    def branch(self, *path: int) -> RemoteRun:
        """The values that a branch set: (number of the fork, branch) per level."""
        found = RemoteRun(self._compiled, self._arguments, self._answer)
        found._path = path
        return found

    def __getitem__(self, name: str) -> Any:
        return self._read(self._find(name)["number"])

    @property
    def var_names(self) -> list[str]:
        """The names that are set, in order."""
        return list(dict.fromkeys(told["name"] for told in self._here() if told["name"]))

    def unnamed(self) -> list[Any]:
        """The values of the calls that have no name, in order."""
        return [self._read(told["number"]) for told in self._here() if told["name"] is None]

    def get_meta_info(self, name: str) -> dict[str, Any]:
        """What the server tells of the value: a gen's samples with their token ids and finish
        reasons and its usage, the probabilities of a select."""
        return dict(self._find(name))

    def text(self) -> str:
        """Everything that the program's own state has said. Raises what the program raised."""
        self._raise()
        return str(self._answer["text"])

    def error(self) -> EspalierError | None:
        """What the program raised; None where it came to its end."""
        told = self._answer["error"]
        return None if told is None else _error(told)

    @property
    def ret_value(self) -> Any:
        """What the program's function returns. Raises what it raised."""
        self._raise()
        return fill.data(self._returns, self._slot, self._compiled.ir.where)

    def __repr__(self) -> str:
        return f"RemoteRun(path={self._path}, variables={self.var_names})"

    # -- inside ------------------------------------------------------------------------------------

    def _follow(self) -> ir.Data:
        """The way that the run took, as far as it came: its ops, and what it returns."""
        block = self._compiled.ir.block
        while True:
            for op in block.ops:
                for number, _ in ir.gives(op):
                    self._ops[number] = op
            switch = block.switch
            if switch is None:
                return block.returns
            if "value" not in self._told.get(cast(int, switch.slot.value), {}):
                return ir.Constant()
            value = self._slot(switch.slot)
            block = next(case.block for case in switch.cases if value in case.values)

    def _raise(self) -> None:
        error = self.error()
        if error is not None:
            raise error

    def _here(self) -> Iterator[Told]:
        """What this state set itself."""
        for told in self._told.values():
            if told["branch"] == list(self._path):
                yield told

    def _find(self, name: str) -> Told:
        found = [told for told in self._here() if told["name"] == name]
        if not found:
            raise VariableError(
                f"the variable {name!r} was not set",
                hint=f"Variables: {', '.join(map(repr, self.var_names)) or 'none'}.",
            )
        return found[-1]

    def _slot(self, slot: ir.Slot) -> Any:
        if slot.meta:
            raise NotSupportedError(
                "the program uses meta information, whose form on a server is another",
                where=self._compiled.ir.where,
                hint="Read get_meta_info(name) of the run.",
            )
        if slot.argument is not None:
            return fill.entry(self._arguments[slot.argument], slot.path)
        return fill.entry(self._read(cast(int, slot.value)), slot.path)

    def _read(self, number: int) -> Any:
        """A value. Raises why there is none."""
        told = self._told.get(number)
        if told is None:
            raise ProgramError("the run ended before this value", where=self._compiled.ir.where)
        if told.get("error") is not None:
            raise _error(told["error"], told)
        op = self._ops.get(number)
        if isinstance(op, ir.Join):
            return self._gathered(op, number, told)
        if isinstance(op, ir.Generate) and op.type is not None and told["kind"] == "gen":
            texts = [sample["text"] for sample in told["samples"]]
            values = [self._typed(op, text) for text in texts]
            return values if op.params.get("n", 1) > 1 else values[0]
        return told["value"]

    def _typed(self, op: ir.Generate, text: str) -> Any:
        expr = self._compiled.bound.gens[id(op)]
        value, refusal = value_of(expr.dtype, text, None, f"gen({op.name!r})", expr.where)
        if refusal is not None:
            raise refusal
        return value

    def _gathered(self, op: ir.Join, number: int, told: Told) -> list[Any]:
        """A join's list, of its branches' values as they are here."""
        name = next(name for name, value in op.names.items() if value == number)
        values: list[Any] = []
        for branch, sent in zip(op.branches, told["value"], strict=True):
            own = [
                at
                for at, each in self._told.items()
                if at < number and self._ops[at].stream == branch and each["name"] == name
            ]
            if own and self._told[own[-1]].get("error") is None:
                values.append(self._read(own[-1]))
            else:
                values.append(None if sent is None else BranchError(sent["error"]["message"]))
        return values


def _error(told: Told, value: Told | None = None) -> EspalierError:
    """An error that a server tells. Its message says the program's line."""
    if told["code"] != _CUT:
        return ProgramError(told["message"])
    error = IncompleteError(told["message"])
    if value is not None and value.get("samples"):
        error.text = value["samples"][0]["text"]
    return error


def request(
    compiled: CompiledProgram, arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of the request. Raises InvalidRequestError for an argument that JSON does not hold
    as it is, NotSupportedError for an option that does not cross."""
    import json

    given = {name: value for name, value in arguments.items() if name not in compiled.ir.fixed}
    for name, value in given.items():
        _check_plain(name, value)
    if text_in_logprobs(options):
        raise NotSupportedError(
            "a server tells tokens beside their logprobs by their ids",
            where="return_text_in_logprobs",
        )
    body: dict[str, Any] = {
        "program": json.loads(ir.encode(compiled.ir)),
        "arguments": given,
        "sampling_params": _changed(run_fields(options)),
    }
    if options.get("namespace"):
        body["cache_salt"] = options["namespace"]
    if (seed := run_seed(options)) is not None:
        body["seed"] = seed
    for name in _OPTIONS:
        if options.get(name) is not None:
            body[name] = options[name]
    return body


def _changed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Sampling fields that are not as they are anyway; a ban is written as JSON can."""
    defaults = SamplingParams()
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if name == "prompt_logprobs" and value is not None:
            raise NotSupportedError(
                "log probabilities of prompts are not told of a program that a server runs",
                where=name,
                hint="Leave it out, or use run(backend=HTTPBackend(url)).",
            )
        if name != "seed" and value != getattr(defaults, name):
            made[name] = list(value) if isinstance(value, tuple) else value
    return made


def _check_plain(name: str, value: Any) -> None:
    """Raise for what would be something else at the server."""
    if value is None or type(value) in (bool, int, str):
        return
    if type(value) is float and value - value == 0:
        return
    if type(value) is list:
        for item in value:
            _check_plain(name, item)
        return
    if type(value) is dict and all(type(key) is str for key in value):
        for item in value.values():
            _check_plain(name, item)
        return
    raise InvalidRequestError(
        expected="None, a bool, a number, a text, or lists and dicts of them",
        got=f"{type(value).__name__} {value!r:.60}",
        where=name,
        hint="A server gets arguments as JSON.",
    )
