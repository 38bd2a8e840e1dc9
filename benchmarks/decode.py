"""How near our engine's steps come to what a GPU's memory and arithmetic allow.

Random weights in the shapes of real models, greedy unless said, times by the wall. The bound of a
step that decodes is the longer of reading the weights and the keys and values once (at
`--bandwidth`), and of two operations for each weight and row (at `--compute`): by default both are
what such work reaches on an H200, some nine and eight tenths of its data sheet. That of a workload
is the longer of all it reads and all it computes, as prompts may be computed while others decode:
it reads the weights as often as its longest answer has tokens, and multiplies by the head only for
tokens that are sampled. Both leave out attention's arithmetic.

To decode after long prompts, and to have a long prefix in the cache, prompts are not computed: keys
and values are random numbers then, which take as long to read. `idle` is the share of a step's time
in which the GPU does nothing: what is left beside the step's graphs, run one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from .offline import SPREAD, lengths
from .report import Row, finish, parser, save
from .rivals import engine_options
from .true_shapes import TRUE_SHAPES, checkpoint, parameters

CONTEXTS, BATCHES = (512, 2048), (1, 8, 64, 256)
LONG = 200_000
WARM, STEPS = 10, 40
"""Of each batch, before and while it is measured: a graph is captured in the fourth."""
SCHEMA = {
    "type": "array",
    "minItems": 40,
    "items": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "name": {"type": "string", "maxLength": 40},
            "kind": {"enum": ["first", "second", "third"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["id", "name", "kind", "tags"],
    },
}


class Machine(NamedTuple):
    """bandwidth: bytes, compute: operations a second."""

    bandwidth: float
    compute: float


class Sizes(NamedTuple):
    """Of a model. weights: those that a step multiplies by; head: those of them that only rows
    which are sampled meet; kv: bytes of a token's keys and values."""

    weights: int
    head: int
    kv: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Sizes:
        layer = 2 * 2 * config["num_key_value_heads"] * config["head_dim"]
        head = config["vocab_size"] * config["hidden_size"]
        return cls(parameters(config), head, layer * config["num_hidden_layers"])

    def step(self, rows: int, keys: int, machine: Machine) -> float:
        """Seconds, at least, of a step of so many rows that read so many keys in all."""
        read = (2 * self.weights + self.kv * keys) / machine.bandwidth
        return max(read, 2 * self.weights * rows / machine.compute)

    def workload(self, prompts: Sequence[int], counts: Sequence[int], machine: Machine) -> float:
        """Seconds, at least, of requests of these lengths, in and out, none of them begun by
        others. A prompt's computation makes the first token; the last is never a row."""
        made = sum(counts)
        rows = sum(prompts) + made - len(counts)
        products = (self.weights - self.head) * rows + self.head * made
        pairs = zip(prompts, counts, strict=True)
        keys = sum((count - 1) * prompt + count * (count - 1) // 2 for prompt, count in pairs)
        read = 2 * self.weights * max(counts) + self.kv * keys
        return max(read / machine.bandwidth, 2 * products / machine.compute)


class Bench:
    """An engine of one shape, and what it is measured by."""

    def __init__(self, args: argparse.Namespace, shape: str, folder: Path) -> None:
        from ..runtime.collecting import Collector
        from ..runtime.engine import Engine

        self.args, self.name = args, f"decode/{shape}"
        config = json.loads((folder / "config.json").read_text())
        self.vocab: int = config["vocab_size"]
        self.sizes = Sizes.of(config)
        self.machine = Machine(args.bandwidth * 1e12, args.compute * 1e12)
        on_gpu = args.device != "cpu"
        options: dict[str, Any] = {"cuda_graphs": True} if on_gpu else {"max_total_tokens": 20_000}
        options |= engine_options(args.option)
        begun = time.perf_counter()
        self.engine = Engine(str(folder), inline=True, device=args.device, **options)
        took = f"{time.perf_counter() - begun:.0f} s"
        print(f"{self.name}: an engine in {took}, {self.engine.info.kernels}", flush=True)
        link: Any = self.engine._exchange.link
        self.core = link.core
        runner: Any = self.core._runner
        self.runner = getattr(runner, "_inner", runner)  # a delayed one's
        for rows in self.runner.kv.rows:  # what is read before it is computed
            rows.normal_() if rows.is_floating_point() else rows.zero_()
        self._rng = random.Random(0)
        Collector().start()  # as in a process of the engine's own

    def prompt(self, length: int) -> list[int]:
        """Random tokens."""
        return self._rng.choices(range(3, self.vocab), k=length)

    @contextmanager
    def uncomputed(self) -> Iterator[None]:
        """Steps compute nothing: each token is the lowest, keys and values are what they were."""
        import torch

        runner = self.runner
        graphs, runner._graphs = runner._graphs, None

        def nothing(plan: Any) -> tuple[Any, None]:
            return torch.zeros(len(plan.logits_at), self.vocab, device=runner.device), None

        runner._forward = nothing
        try:
            yield
        finally:
            del runner._forward
            runner._graphs = graphs

    def params(self, tokens: int, **more: Any) -> Any:
        from ..types import SamplingParams

        return SamplingParams(max_tokens=tokens, ignore_eos=True, **more)

    def first_token(self, prompt: list[int]) -> float:
        """Seconds to the first token after a prompt."""
        begun = time.perf_counter()
        self.engine.generate(input_ids=[prompt], sampling_params=self.params(1))
        return time.perf_counter() - begun

    def decode(self, batch: int, context: int) -> list[Row]:
        """Steps of a batch after prompts of `context` tokens."""
        self.engine.flush_cache()
        prompts = [self.prompt(context) for _ in range(batch)]
        came, keys = self._tokens(prompts)
        took = (came[-1] - came[0]) / (len(came) - 1)
        bound = self.sizes.step(batch, keys, self.machine)
        name = f"{self.name}/{batch} x {context}"
        found = [
            Row(name=f"{name}/tokens", value=batch / took, unit="tokens/s",
                peers={"bound": batch / bound}),
            Row(name=f"{name}/of the bound", value=bound / took, unit="share"),
        ]  # fmt: skip
        busy = self._busy(batch)
        if busy is not None:
            idle = Row(name=f"{name}/idle", value=1 - busy / took, unit="share")
            found += [idle, Row(name=f"{name}/GPU a step", value=1e3 * busy, unit="ms")]
        return found

    def _tokens(self, prompts: list[list[int]]) -> tuple[list[float], int]:
        """When steps ended in which each request decoded, and how many keys they read, of the one
        in their middle."""
        builder, exchange = self.engine._builder, self.engine._exchange
        room = 2 * sum(map(len, prompts)) // self.core.scheduler.config.step_tokens
        params = self.params(room + WARM + self.args.steps + 8)  # the first go on beside the last
        requests = builder.requests(prompts, params, None, 0, "", None, stream=True)
        made = dict.fromkeys((request.id for request in requests), 0)
        came: list[float] = []
        chunks: Any = exchange.chunks(requests)
        with self.uncomputed():
            while not all(made.values()):
                chunk = next(chunks)
                made[chunk.request_id] += len(chunk.token_ids)
        before = sum(made.values())
        for chunk in chunks:
            if chunk.request_id == requests[0].id:  # a step has one of its chunks
                came.append(time.perf_counter())
            if len(came) == WARM + self.args.steps:
                break
        chunks.close()
        decoded = len(prompts) * (WARM + self.args.steps // 2)
        return came[WARM:], sum(map(len, prompts)) + before + decoded

    def _busy(self, batch: int) -> float | None:
        """Seconds that the GPU takes for the graphs of a step of so many sequences."""
        graphs = self.runner._graphs
        if graphs is None:
            return None
        import torch

        buckets = graphs._decode._buckets
        fit = [size for size, shared in buckets if size >= batch and not shared]
        if not fit:
            return None
        bucket = buckets[min(fit), False]
        model, sampler = bucket.model, bucket.samplers.get(False)
        if sampler is None or sampler.replay is None or model.replay is None:
            return None
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        for number in range(24):
            if number == 4:
                begin.record()
            model.replay()
            sampler.replay()
        end.record()
        torch.cuda.synchronize()
        return float(begin.elapsed_time(end)) / 20e3

    def firsts(self) -> list[Row]:
        """First tokens: of a short prompt, and of a long one that but for a token is cached."""
        short = []
        for _ in range(9):
            self.engine.flush_cache()
            short.append(self.first_token(self.prompt(256)))
        found = [self._ms("first token of 256", statistics.median(short[2:]))]
        self.engine.flush_cache()
        long = min(self.args.long, self.core._limits.max_context - 8)
        prompt = self.prompt(long)
        with self.uncomputed():
            self.first_token(prompt)
        cached = [self.first_token([*prompt, token]) for token in range(10, 15)]
        found.append(self._ms(f"first token of {long}, cached", statistics.median(cached[1:])))
        self.engine.flush_cache()
        return found

    def _ms(self, what: str, seconds: float) -> Row:
        return Row(name=f"{self.name}/{what}", value=1e3 * seconds, unit="ms")

    def workloads(self) -> list[Row]:
        """All requests at once: of uniform lengths at temperature 0.6, and as ShareGPT's are
        spread; each after one run to warm up."""
        count, longest = self.args.requests, self.args.longest
        rng = random.Random(0)
        prompts = [
            [rng.randint(0, min(10_000, self.vocab - 1)) for _ in range(rng.randint(100, longest))]
            for _ in range(count)
        ]
        uniform = [rng.randint(100, longest) for _ in range(count)]
        spread = [
            lengths(rng, count, mean, by, 2048) for mean, by in zip((220, 200), SPREAD, strict=True)
        ]
        chats = [self.prompt(length) for length in spread[0]]
        found = []
        for name, given, counts, heat in (
            ("chats, mean 220 in, 200 out", chats, spread[1], 0.0),
            (f"uniform 100..{longest} in and out", prompts, uniform, 0.6),
        ):
            params = [self.params(tokens, temperature=heat) for tokens in counts]
            took = []
            for _ in range(2 if heat == 0.0 else 1):  # the first of all captures graphs
                self.engine.flush_cache()
                begun = time.perf_counter()
                self.engine.generate(input_ids=given, sampling_params=params)
                took.append(time.perf_counter() - begun)
            bound = self.sizes.workload(list(map(len, given)), counts, self.machine)
            title = f"{self.name}/{count} {name}"
            made = sum(counts)
            found += [
                Row(name=f"{title}/tokens out", value=made / took[-1], unit="tokens/s",
                    peers={"bound": made / bound}),
                Row(name=f"{title}/of the bound", value=bound / took[-1], unit="share"),
            ]  # fmt: skip
        return found

    def grammars(self) -> list[Row]:
        """Requests under a JSON schema, beside the same number of tokens without."""
        from ..grammar.spec import GrammarSpec

        if not self.core._limits.has_tokenizer:
            print(f"{self.name}: no tokenizer (ESPALIER_DATA), so no grammars", flush=True)
            return []
        spec = GrammarSpec.json_schema(SCHEMA)
        found = []
        tokens = min(96, 8 * self.args.steps)
        for batch in sorted({min(batch, self.args.requests) for batch in (1, 64, 256)}):
            prompts = [self.prompt(64) for _ in range(batch)]
            rates = {}
            for _ in range(3):  # twice to warm up: states are visited, graphs captured
                for name, grammar in (("free", None), ("constrained", spec)):
                    self.engine.flush_cache()
                    params = [
                        self.params(tokens, temperature=1.0, seed=seed) for seed in range(batch)
                    ]
                    begun = time.perf_counter()
                    results = self.engine.generate(
                        input_ids=prompts, sampling_params=params, grammar=grammar
                    )
                    seconds = time.perf_counter() - begun
                    rates[name] = sum(each.generated_tokens for each in results) / seconds
            found.append(
                Row(name=f"{self.name}/constrained @ {batch}", value=rates["constrained"],
                    unit="tokens/s", peers={"free": rates["free"]})
            )  # fmt: skip
        return found


def folder_of(models: Path, shape: str) -> Path:
    """A checkpoint of the shape which declares a context that holds the long prompt; with a
    tokenizer where there is one that is no wider."""
    plain = checkpoint(models, shape)
    folder = models / f"{shape}-long"
    folder.mkdir(exist_ok=True)
    config = json.loads((plain / "config.json").read_text())
    config["max_position_embeddings"] = max(1 << 18, config["max_position_embeddings"])
    (folder / "config.json").write_text(json.dumps(config))
    data = os.environ.get("ESPALIER_DATA") or Path(__file__).resolve().parents[1] / "shared"
    tokenizer = Path(data) / "tokenizers" / "llama3" / "tokenizer.json"
    given = {"model.safetensors": plain / "model.safetensors"}
    if tokenizer.exists() and config["vocab_size"] >= 128_256:
        given["tokenizer.json"] = tokenizer
    for name, source in given.items():
        if not (folder / name).exists():
            (folder / name).symlink_to(source.resolve())
    return folder


def main(argv: Sequence[str]) -> int:
    """`espalier bench decode`."""
    options = parser("decode", __doc__ or "")
    add = options.add_argument
    add("--device", default="cuda")
    add("--shape", choices=list(TRUE_SHAPES), default="0.6B", help="(default: 0.6B)")
    add("--models", type=Path, metavar="FOLDER", help="keep the random-weight models there")
    add("--batch", type=int, nargs="+", default=BATCHES, metavar="N")
    add("--context", type=int, nargs="+", default=CONTEXTS, metavar="TOKENS")
    add("--steps", type=int, default=STEPS, help=f"measured of each (default: {STEPS})")
    add("--requests", type=int, default=256, metavar="N", help="of a workload (default: 256)")
    add("--longest", type=int, default=1024, metavar="TOKENS", help="of the uniform workload")
    add("--long", type=int, default=LONG, metavar="TOKENS", help=f"a cached prompt's ({LONG})")
    add("--bandwidth", type=float, default=4.3, help="TB/s (default: what copies reach on an H200)")
    add("--compute", type=float, default=790.0, help="TFLOP/s in bfloat16 (default: of products)")
    add("--option", action="append", default=[], metavar="NAME=JSON", help="of the engine")
    args = options.parse_args(argv)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as made:
        bench = Bench(args, args.shape, folder_of(args.models or Path(made), args.shape))
        first, *others = args.context
        parts: list[Callable[[], list[Row]]] = [bench.firsts]
        parts += [partial(bench.decode, batch, first) for batch in args.batch]
        parts += [bench.workloads]
        parts += [partial(bench.decode, batch, each) for each in others for batch in args.batch]
        parts += [bench.grammars]
        failed = 0
        for part in parts:
            try:
                found = part()
            except Exception:  # the others may do
                traceback.print_exc()
                failed += 1
                continue
            for row in found:
                print(f"{row.name}: {row.value:.4g} {row.unit} {row.peers or ''}", flush=True)
            rows += found
            save("decode", argv, args.json, rows)
        bench.engine.shutdown()
    finish("decode", argv, args.json, rows)
    return int(failed > 0)
