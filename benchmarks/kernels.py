"""The GPU kernels by themselves, at the shapes of Llama-3.1-8B and Qwen3-0.6B in bfloat16: the time
of one layer's call in a CUDA graph, beside torch's own operators and the least that moving the
bytes could take (at `--bandwidth`; what a copy reaches, by default on an H200).

torch's attention is given keys and values that lie in order, one sequence after the other, which a
paged cache never has. `paged` is our kernel without what is told of shared prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from .devices import need_triton
from .report import Row, finish, parser, save
from .tune import fastest

UNIT = "us"
RUN = 16  # slots that lie together, of a cache in use
DECODE = ((1, 32768), (8, 2048), (64, 512), (64, 2048), (256, 2048))
"""Sequences, and the keys of each."""
TUNED = ((1, 8192), (16, 2048), (64, 2048))
"""Tiles are chosen by these, and a prompt."""
PROMPT, BRANCHES, PREFIX, SUFFIX = 2048, 64, 8192, 64


class Shape(NamedTuple):
    """What a layer is."""

    name: str
    heads: int
    kv_heads: int
    hidden: int
    inner: int
    width: int = 128

    @property
    def kv_bytes(self) -> int:
        """Bytes of one token's keys and values."""
        return 2 * 2 * self.kv_heads * self.width


SHAPES = (Shape("8B", 32, 8, 4096, 14336), Shape("0.6B", 16, 8, 1024, 3072))


def main(argv: Sequence[str]) -> int:
    """`espalier bench kernels`."""
    options = parser("kernels", __doc__ or "")
    options.add_argument("--device", default="cuda")
    options.add_argument(
        "--bandwidth", type=float, default=4.3, help="TB/s, for the bound (default: 4.3)"
    )
    options.add_argument(
        "--tune", type=float, nargs="?", const=120.0, metavar="SECONDS",
        help="first look for the fastest tiles of attention for so long (120), and keep them",
    )  # fmt: skip
    args = options.parse_args(argv)
    need_triton("kernels", args.device)
    import torch

    rows: list[Row] = []
    with torch.inference_mode():
        if args.tune is not None:
            for shape in SHAPES:
                rows.append(_tune(shape, torch.device(args.device), args.tune / len(SHAPES)))
                save("kernels", argv, args.json, rows)
        for shape in SHAPES:
            for name, moved, calls in _measured(shape, torch.device(args.device)):
                times = {who: _microseconds(call) for who, call in calls.items()}
                ours = times.pop("espalier")
                bound = moved / (args.bandwidth * 1e6)
                rows.append(
                    Row(
                        name=f"{shape.name} {name}",
                        value=ours,
                        unit=UNIT,
                        peers=times | {"bound": bound},
                    )
                )
                print(rows[-1].name, ours, rows[-1].peers, flush=True)
                save("kernels", argv, args.json, rows)
                torch.cuda.empty_cache()
    finish("kernels", argv, args.json, rows)
    return 0


def _tune(shape: Shape, device: Any, seconds: float) -> Row:
    """Finds the shape's tiles, and keeps them for engines and for what is measured here next."""
    import torch

    from ..kernels.triton_attention import paged_attention
    from ..kernels.tuned import DEFAULT, Tiles, keep_tiles, shape_of, tiles_file

    cases = [_batch(shape, count, keys, device) for count, keys in TUNED]
    cases.append(_batch(shape, 1, PROMPT, device, rows=PROMPT))

    def cost(tiles: Tiles) -> float:
        """The sum of the times, each as a part of what the first tiles take. Raises AssertionError
        for tiles with which something else comes out."""
        total = 0.0
        for number, (drawn, rows) in enumerate(cases):
            rows.device_plans.clear()
            given = drawn.q, drawn.k, drawn.v, rows
            call = partial(paged_attention, *given, scale=0.09, tiles=tiles)
            found = call()
            torch.testing.assert_close(
                found, wanted.setdefault(number, found), rtol=2e-2, atol=4e-3
            )
            time = _microseconds(call, rep=5)
            total += time / first.setdefault(number, time)
        return total / len(cases)

    first: dict[int, float] = {}
    wanted: dict[int, Any] = {}
    print(f"{shape.name}: tiles of attention, for {seconds:.0f} s", flush=True)
    best, least = fastest(cost, seconds)
    drawn = cases[0][0]
    path = tiles_file()
    if path is not None:
        keep_tiles(torch.device(device), shape_of(drawn.q, drawn.k, drawn.v), best, path)
    print(f"{shape.name}: {best} takes {least:.2f} of what {DEFAULT} takes; kept in {path}")
    name = f"{shape.name} tuned tiles: " + " ".join(f"{k} {v}" for k, v in best._asdict().items())
    return Row(name=name, value=least, unit="of the default's time")


def _batch(
    shape: Shape, sequences: int, keys: int, device: Any, rows: int = 1
) -> tuple[Drawn, Any]:
    """Sequences of `rows` rows each over `keys` keys each."""
    from ..kernels.attention import AttentionBatch

    drawn = _drawn(shape, sequences * rows, sequences, keys, device)
    starts = [rows * number for number in range(sequences + 1)]
    return drawn, AttentionBatch(starts, [keys] * sequences, drawn.tables)


def _microseconds(call: Callable[[], Any], rep: int = 50) -> float:
    """The median of one call's time, without its launch. rep: milliseconds of each of ten runs."""
    from triton import testing

    bench: Any = testing.do_bench_cudagraph
    return float(bench(call, rep=rep, return_mode="median")) * 1e3


Measured = tuple[str, float, dict[str, Callable[[], Any]]]
"""A name, the bytes that must move, and the calls to be timed."""


def _measured(shape: Shape, device: Any) -> Iterator[Measured]:
    for batch, keys in DECODE:
        yield _decode(shape, batch, keys, device)
    yield _prefill(shape, PROMPT, device)
    yield _forks(shape, device)
    yield from _between(shape, 256, device)


class Drawn(NamedTuple):
    """A cache in use, and queries."""

    q: Any
    k: Any
    v: Any
    tables: Any


def _drawn(shape: Shape, rows: int, sequences: int, keys: int, device: Any) -> Drawn:
    import torch

    torch.manual_seed(0)
    pages = sequences * keys // RUN
    kv = torch.randn(
        pages * RUN + 1, 2 * shape.kv_heads, shape.width, device=device, dtype=torch.bfloat16
    )
    q = torch.randn(rows, shape.heads, shape.width, device=device, dtype=torch.bfloat16)
    first = torch.randperm(pages, device=device) * RUN
    slots = (first[:, None] + torch.arange(RUN, device=device)).view(sequences, keys)
    return Drawn(q, kv[:, : shape.kv_heads], kv[:, shape.kv_heads :], slots)


def _dense(shape: Shape, q: Any, sequences: int, keys: int, causal: bool) -> Callable[[], Any]:
    """torch's operator on as many rows over as many keys, in order."""
    import torch

    k, v = (
        torch.randn(sequences, shape.kv_heads, keys, shape.width, device=q.device, dtype=q.dtype)
        for _ in range(2)
    )
    rows = len(q) // sequences
    wide = q.view(sequences, rows, shape.heads, shape.width).transpose(1, 2)
    if rows == 1:  # the heads that share a KV head are rows of one query
        wide = wide.reshape(sequences, shape.kv_heads, -1, shape.width)
    attend = torch.nn.functional.scaled_dot_product_attention
    return lambda: attend(wide, k, v, is_causal=causal, enable_gqa=rows > 1)


def _decode(shape: Shape, batch: int, keys: int, device: Any) -> Measured:
    from ..kernels.attention import paged_attention

    drawn, rows = _batch(shape, batch, keys, device)
    return (
        f"decode {batch} x {keys}",
        batch * keys * shape.kv_bytes,
        {
            "espalier": lambda: paged_attention(drawn.q, drawn.k, drawn.v, rows, scale=0.09),
            "torch": _dense(shape, drawn.q, batch, keys, False),
        },
    )


def _prefill(shape: Shape, rows: int, device: Any) -> Measured:
    """Its bound is of bytes alone: the arithmetic takes longer."""
    from ..kernels.attention import paged_attention

    drawn, batch = _batch(shape, 1, rows, device, rows=rows)
    return (
        f"prefill {rows}",
        rows * (shape.kv_bytes + 4 * shape.heads * shape.width),
        {
            "espalier": lambda: paged_attention(drawn.q, drawn.k, drawn.v, batch, scale=0.09),
            "torch": _dense(shape, drawn.q, 1, rows, True),
        },
    )


def _forks(shape: Shape, device: Any) -> Measured:
    from ..kernels.attention import AttentionBatch, paged_attention
    from ..kernels.attention_plan import SharedRun

    drawn = _drawn(shape, BRANCHES, BRANCHES, PREFIX + SUFFIX, device)
    drawn.tables[:, :PREFIX] = drawn.tables[0, :PREFIX]
    starts, lengths = list(range(BRANCHES + 1)), [PREFIX + SUFFIX] * BRANCHES
    run = SharedRun(tuple(range(BRANCHES)), 0, PREFIX)
    plain = AttentionBatch(starts, lengths, drawn.tables)
    shared = AttentionBatch(starts, lengths, drawn.tables, shared=[run])
    return (
        f"{BRANCHES} forks of {PREFIX}",
        (PREFIX + BRANCHES * SUFFIX) * shape.kv_bytes,
        {
            "espalier": lambda: paged_attention(drawn.q, drawn.k, drawn.v, shared, scale=0.09),
            "paged": lambda: paged_attention(drawn.q, drawn.k, drawn.v, plain, scale=0.09),
        },
    )


def _between(shape: Shape, rows: int, device: Any) -> Iterator[Measured]:
    """What runs between the products."""
    import torch

    from ..kernels.activation import silu_mul, silu_mul_reference
    from ..kernels.norm import RMSNorm
    from ..kernels.rope import turn_and_write, turn_and_write_reference

    def draw(*size: int) -> Any:
        return torch.randn(*size, device=device, dtype=torch.bfloat16)

    x, delta = draw(rows, shape.hidden), draw(rows, shape.hidden)
    norm = RMSNorm(draw(shape.hidden), 1e-6)
    yield (
        f"norm + residual of {rows}",
        rows * shape.hidden * 2 * 4,
        {
            "espalier": lambda: norm.add(x, delta),
            "torch": lambda: torch.nn.functional.rms_norm(
                x.add_(delta), norm.weight.shape, norm.weight, norm.eps
            ),
        },
    )
    gate_up = draw(rows, 2 * shape.inner)
    yield (
        f"silu * up of {rows}",
        rows * shape.inner * 2 * 3,
        {
            "espalier": lambda: silu_mul(gate_up),
            "torch": lambda: silu_mul_reference(gate_up),
        },
    )
    qkv = draw(rows, (shape.heads + 2 * shape.kv_heads) * shape.width)
    cos, sin = draw(rows, 1, shape.width), draw(rows, 1, shape.width)
    cache = draw(4 * rows, 2 * shape.kv_heads * shape.width)
    given = (qkv, cos, sin, torch.randperm(4 * rows, device=device)[:rows], cache)
    one = RMSNorm(draw(shape.width), 1e-6)
    sizes: dict[str, Any] = {
        "heads": shape.heads, "kv_heads": shape.kv_heads, "width": shape.width,
        "norms": (one, one) if shape.name == "0.6B" else None,
    }  # fmt: skip
    yield (
        f"rotation + KV write of {rows}",
        2 * qkv.numel() * 2,
        {
            "espalier": lambda: turn_and_write(*given, **sizes),
            "torch": lambda: turn_and_write_reference(*given, **sizes),
        },
    )
