"""What a program will ask for, before it runs: tokens per call, and what its cache must hold.

The graph is walked with a real tokenizer and chat template, every gen taken at its `max_tokens`.
Constant text, choices and templates are counted exactly. Text of a generated value that is said
again is counted as it was sampled. Of arguments only the number of their tokens is asked; those
that are not given count nothing and are named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..backends.base import Tokenizer
from ..content import Content
from ..roles import ChatFormat
from ..tokens import TextEncoder
from . import ir

UNBOUNDED = 1 << 20


@dataclass(frozen=True)
class CallBound:
    """One call: prompt tokens, and tokens generated at most (of a select: its longest choice) by
    each of its samples. unbounded: it has no max_tokens, and ends with the model's context."""

    name: str | None
    kind: str
    where: str
    stream: int
    prompt: int
    generated: int
    unbounded: bool = False
    samples: int = 1


@dataclass
class Bounds:
    """calls: of the longest way through the program, in its order. prompts: the sum of all prompts.
    computed: those of them that no call before them on their way has left in the cache (branches
    that begin with the same text share that, too, and need fewer). scored: tokens of selects'
    choices. distinct: tokens that no prefix shares, computed or generated. peak: the most that must
    be cached at a time for that. missing: arguments and functions whose text is not counted. ways:
    through the program's branches. lead: before the first call, how many tokens stand before each
    argument that is said, and before the call (arguments count nothing)."""

    calls: list[CallBound] = field(default_factory=list)
    computed: int = 0
    scored: int = 0
    distinct: int = 0
    peak: int = 0
    missing: frozenset[str] = frozenset()
    ways: int = 1
    lead: list[tuple[str | None, int]] = field(default_factory=list)

    @property
    def prompts(self) -> int:
        return sum(call.prompt for call in self.calls)

    @property
    def generated(self) -> int:
        """Tokens generated at most, over all calls."""
        return sum(call.generated * call.samples for call in self.calls if call.kind == "gen")

    @property
    def longest(self) -> int:
        """The longest sequence, prompt and generated."""
        return max((call.prompt + call.generated for call in self.calls), default=0)


def bounds(
    graph: ir.Graph,
    encoder: TextEncoder,
    chat: ChatFormat,
    sizes: Mapping[str, int] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Bounds:
    """The bounds of the way that asks for most. sizes: tokens of the arguments. defaults: the run's
    sampling fields. Raises what a chat template raises."""
    chains = list(ir.ways(graph.block))
    found: list[Bounds] = []
    for chain in chains:
        walk = _Walk(Content(encoder, chat), sizes or {}, defaults or {})
        walk.run(chain)
        walk.bounds.ways = len(chains)
        walk.bounds.missing = frozenset(walk.missing)
        found.append(walk.bounds)
    return max(found, key=lambda bound: (bound.peak, bound.distinct))


def bounds_with(
    graph: ir.Graph,
    tokenizer: Tokenizer,
    arguments: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Bounds:
    """`bounds`, with the tokens of these arguments."""
    encoder = TextEncoder(tokenizer)
    sizes = {name: len(encoder.run(str(value))) for name, value in (arguments or {}).items()}
    return bounds(graph, encoder, ChatFormat(tokenizer), sizes, defaults)


class _Walk:
    """One way, op by op."""

    def __init__(
        self, content: Content, sizes: Mapping[str, int], defaults: Mapping[str, Any]
    ) -> None:
        self.bounds = Bounds()
        self.missing: set[str] = set()
        self._arguments = sizes
        self._led = 0
        self._defaults = defaults
        self._contents: dict[int, Content] = {0: content}
        self._begins: dict[int, int] = {0: 0}
        self._lengths: dict[int, int] = {0: 0}
        self._parents: dict[int, int] = {}
        self._covered: dict[int, int] = {}  # by stream: first tokens that calls left cached
        self._sizes: dict[int, int] = {}
        self._sampled: dict[int, int] = {}
        self._beside = 0
        self._items: dict[int, list[int | None]] = {}
        self._names: dict[int, dict[str, int]] = {0: {}}
        self._scopes: dict[tuple[int, str], int] = {}
        self._ended: set[int] = set()

    def run(self, ops: Sequence[ir.Op]) -> None:
        last = {op.stream: at for at, op in enumerate(ops)}
        waiting: set[int] = set()
        for at, op in enumerate(ops):
            if isinstance(op, ir.Join) or any(slot.value is not None for slot in ir.slots_of(op)):
                self._ended |= waiting  # a point where what came before has ended
                waiting = set()
            self._op(op)
            if last[op.stream] == at and op.stream:
                waiting.add(op.stream)
            self._measure()
        self.bounds.distinct += sum(
            self._lengths[stream] - begin for stream, begin in self._begins.items()
        )

    def _measure(self) -> None:
        live = sum(
            self._lengths[stream] - begin
            for stream, begin in self._begins.items()
            if stream not in self._ended
        )
        self.bounds.peak = max(self.bounds.peak, live + self._beside)
        self._beside = 0  # a call's other samples go when it ends

    def _op(self, op: ir.Op) -> None:
        content = self._contents[op.stream]
        match op:
            case ir.Say(pieces=pieces):
                for piece in pieces:
                    self._add(content, piece)
                self._note(op.stream, content)
            case ir.Generate():
                self._generate(op, content)
            case ir.Choose():
                self._choose(op, content)
            case ir.Role(role=role, opens=True):
                content.begin_role(role)
            case ir.Role(role=role):
                content.end_role(role)
                self._note(op.stream, content)
            case ir.Fork(branches=branches):
                begin = self._settled(content)
                for branch in branches:
                    self._contents[branch] = content.fork()
                    self._begins[branch] = self._lengths[branch] = begin
                    self._parents[branch] = op.stream
                    self._names[branch] = {}
            case ir.Join():
                self._join(op, content)
            case ir.Scope(name=name, value=None):
                self._scopes[op.stream, name] = self._lengths[op.stream]
            case ir.Scope(name=name, value=int(value)):
                begin = self._scopes.pop((op.stream, name), 0)
                self._sizes[value] = self._lengths[op.stream] - begin
            case ir.Assign(value=value, data=data):
                self._sizes[value] = sum(map(self._size, ir.slots(data)))
            case ir.Apply(function=function):
                self.missing.add(function.rpartition(":")[2] + "()")
        match op:
            case (
                ir.Generate(name=str(name), value=int(value))
                | ir.Choose(name=str(name), value=int(value))
                | ir.Assign(name=str(name), value=int(value))
                | ir.Scope(name=str(name), value=int(value))
            ):
                self._names[op.stream][name] = value
            case _:
                pass

    def _join(self, op: ir.Join, content: Content) -> None:
        if op.mode != "gather_variable":
            for branch in op.branches:
                content.add_generated(
                    [0] * (self._lengths[branch] - self._begins[branch]), "", False
                )
            self._note(op.stream, content)
        for name, value in op.names.items():
            self._items[value] = [self._names[branch].get(name) for branch in op.branches]
            self._names[op.stream][name] = value

    def _note(self, stream: int, content: Content) -> None:
        self._lengths[stream] = max(self._lengths[stream], self._settled(content))

    @staticmethod
    def _settled(content: Content) -> int:
        """Its tokens, the pending text encoded."""
        return len(content.ids())

    def _add(self, content: Content, piece: ir.Piece) -> None:
        if isinstance(piece, str):
            content.add_text(piece)
        elif piece.argument is not None:
            size = self._arguments.get(piece.argument)
            if not self.bounds.calls:
                self.bounds.lead.append((piece.argument, self._settled(content) - self._led))
                self._led += size or 0
            if size is None:
                self.missing.add(piece.argument)
            content.add_generated([0] * (size or 0), "", False)
        else:
            content.add_generated([0] * self._size(piece), "", False)

    def _size(self, slot: ir.Slot) -> int:
        """Tokens of a value, at most; 0 where nobody can say."""
        value, path = slot.value, list(slot.path)
        while value in self._items:
            items = self._items[value]
            at = path.pop(0) if path else None
            if not isinstance(at, int):
                each = [ir.Slot(value=item) for item in items if item is not None]
                return sum(map(self._size, each))
            value = items[at]
        if value is None:
            return 0
        one = bool(path) and isinstance(path[0], int) and value in self._sampled
        return self._sampled[value] if one else self._sizes.get(value, 0)

    def _call(self, bound: CallBound, content: Content) -> None:
        if not self.bounds.calls:
            self.bounds.lead.append((None, self._settled(content) - self._led))
        self.bounds.calls.append(bound)
        self.bounds.computed += self._cover(bound.stream, bound.prompt)
        self._covered[bound.stream] = bound.prompt + bound.generated

    def _cover(self, stream: int, tokens: int) -> int:
        """How many of a stream's first `tokens` are not cached yet; then they are."""
        missing, at = 0, stream
        while True:  # forks may be nested deeper than Python's own stack
            begin = self._begins[at]
            covered = max(begin, self._covered.get(at, 0))
            self._covered[at] = max(covered, tokens)
            missing += max(0, tokens - covered)
            if at not in self._parents:
                return missing
            at, tokens = self._parents[at], min(begin, tokens)

    def _generate(self, op: ir.Generate, content: Content) -> None:
        prompt = len(content.prompt())
        params = {**self._defaults, **op.params}
        most, samples = params.get("max_tokens", 128), int(params.get("n", 1))
        counted = 0 if most is None else int(most)
        self._sizes[op.value] = counted * samples
        self._sampled[op.value] = counted
        if op.reasoning is not None:
            self._sizes[op.reasoning.value] = counted * samples
            self._sampled[op.reasoning.value] = counted
        bound = CallBound(
            op.name, "gen", op.where, op.stream, prompt, counted, most is None, samples
        )
        self._call(bound, content)
        self._beside = counted * (samples - 1)
        self.bounds.distinct += self._beside
        content.add_generated([0] * counted, "", False)
        self._note(op.stream, content)

    def _choose(self, op: ir.Choose, content: Content) -> None:
        choices = [
            "".join(piece for piece in pieces if isinstance(piece, str)) for pieces in op.choices
        ]
        found = content.candidates(choices)
        lengths = [len(row) for row in found.rows]
        longest = max(range(len(lengths)), key=lengths.__getitem__)
        prompt = len(found.prefix)
        self._sizes[op.value] = lengths[longest]
        bound = CallBound(op.name, "select", op.where, op.stream, prompt, lengths[longest])
        self._call(bound, content)
        content.add_choice(found.rows[longest], choices[longest])
        self.bounds.scored += sum(lengths)
        self.bounds.distinct += sum(lengths) - lengths[longest]
        self._note(op.stream, content)
